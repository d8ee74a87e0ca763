"""Fibre Channel hosts and InfiniBand ports.

Source: Linux `Documentation/ABI/testing/sysfs-class-fc_host`, `sysfs-class-infiniband`; node_exporter 1.12 (names and
units).
"""

import re

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import Roots, names, names_or_absent, some_number, some_text, text

_FC_TEXTS = (
    *("speed", "port_state", "port_type", "port_id", "port_name", "fabric_name", "dev_loss_tmo", "symbolic_name"),
    *("supported_classes", "supported_speeds"),
)
_FC_COUNTERS = {
    "dumped_frames": "dumped_frames_total",
    "error_frames": "error_frames_total",
    "invalid_crc_count": "invalid_crc_total",
    "rx_frames": "rx_frames_total",
    "rx_words": "rx_words_total",
    "tx_frames": "tx_frames_total",
    "tx_words": "tx_words_total",
    "seconds_since_last_reset": "seconds_since_last_reset_total",
    "invalid_tx_word_count": "invalid_tx_words_total",
    "link_failure_count": "link_failure_total",
    "loss_of_sync_count": "loss_of_sync_total",
    "loss_of_signal_count": "loss_of_signal_total",
    "nos_count": "nos_total",
    "fcp_packet_aborts": "fcp_packet_aborts_total",
}
_NOT_COUNTED = 2**64 - 1
"""What a driver shows for a counter that it does not have."""


def collect_fibrechannel(roots: Roots) -> list[Point]:
    """Return the points of Fibre Channel hosts.

    Raises: AbsentError where the machine has none.
    """
    folder = f"{roots.sys}/class/fc_host"
    points = []
    for host in names_or_absent(folder):
        told = {file: (some_text(f"{folder}/{host}/{file}") or "").removeprefix("0x") for file in _FC_TEXTS}
        points.append(Point("node_fibrechannel_info", 1.0, labelled(fc_host=host, **told)))
        for file, name in _FC_COUNTERS.items():
            value = some_number(f"{folder}/{host}/statistics/{file}")
            if value is not None and value != _NOT_COUNTED:
                points.append(Point(f"node_fibrechannel_{name}", float(value), (("fc_host", host),)))
    return points


_LANES = 4
"""The kernel counts the data of a port in pieces of four bytes."""
_IB_COUNTERS = {
    "counters/excessive_buffer_overrun_errors": "excessive_buffer_overrun_errors_total",
    "counters/link_downed": "link_downed_total",
    "counters/link_error_recovery": "link_error_recovery_total",
    "counters/local_link_integrity_errors": "local_link_integrity_errors_total",
    "counters/multicast_rcv_packets": "multicast_packets_received_total",
    "counters/multicast_xmit_packets": "multicast_packets_transmitted_total",
    "counters/port_rcv_constraint_errors": "port_constraint_errors_received_total",
    "counters/port_xmit_constraint_errors": "port_constraint_errors_transmitted_total",
    "counters/port_rcv_data": "port_data_received_bytes_total",
    "counters/port_xmit_data": "port_data_transmitted_bytes_total",
    "counters/port_rcv_discards": "port_discards_received_total",
    "counters/port_xmit_discards": "port_discards_transmitted_total",
    "counters/port_rcv_errors": "port_errors_received_total",
    "counters/port_rcv_packets": "port_packets_received_total",
    "counters/port_xmit_packets": "port_packets_transmitted_total",
    "counters/port_xmit_wait": "port_transmit_wait_total",
    "counters/unicast_rcv_packets": "unicast_packets_received_total",
    "counters/unicast_xmit_packets": "unicast_packets_transmitted_total",
    "counters/port_rcv_remote_physical_errors": "port_receive_remote_physical_errors_total",
    "counters/port_rcv_switch_relay_errors": "port_receive_switch_relay_errors_total",
    "counters/symbol_error": "symbol_error_total",
    "counters/VL15_dropped": "vl15_dropped_total",
    "counters_ext/port_multicast_rcv_packets": "legacy_multicast_packets_received_total",
    "counters_ext/port_multicast_xmit_packets": "legacy_multicast_packets_transmitted_total",
    "counters_ext/port_rcv_data_64": "legacy_data_received_bytes_total",
    "counters_ext/port_rcv_packets_64": "legacy_packets_received_total",
    "counters_ext/port_unicast_rcv_packets": "legacy_unicast_packets_received_total",
    "counters_ext/port_unicast_xmit_packets": "legacy_unicast_packets_transmitted_total",
    "counters_ext/port_xmit_data_64": "legacy_data_transmitted_bytes_total",
    "counters_ext/port_xmit_packets_64": "legacy_packets_transmitted_total",
    "hw_counters/duplicate_request": "duplicate_requests_packets_total",
    "hw_counters/implied_nak_seq_err": "implied_nak_seq_errors_total",
    "hw_counters/local_ack_timeout_err": "local_ack_timeout_errors_total",
    "hw_counters/np_cnp_sent": "np_cnp_packets_sent_total",
    "hw_counters/np_ecn_marked_roce_packets": "np_ecn_marked_roce_packets_received_total",
    "hw_counters/out_of_buffer": "out_of_buffer_drops_total",
    "hw_counters/out_of_sequence": "out_of_sequence_packets_received_total",
    "hw_counters/packet_seq_err": "packet_sequence_errors_total",
    "hw_counters/req_cqe_error": "req_cqes_errors_total",
    "hw_counters/req_cqe_flush_error": "req_cqes_flush_errors_total",
    "hw_counters/req_remote_access_errors": "req_remote_access_errors_total",
    "hw_counters/req_remote_invalid_request": "req_remote_invalid_request_errors_total",
    "hw_counters/resp_cqe_error": "resp_cqes_errors_total",
    "hw_counters/resp_cqe_flush_error": "resp_cqes_flush_errors_total",
    "hw_counters/resp_local_length_error": "resp_local_length_errors_total",
    "hw_counters/resp_remote_access_errors": "resp_remote_access_errors_total",
    "hw_counters/rnr_nak_retry_err": "rnr_nak_retry_packets_received_total",
    "hw_counters/roce_adp_retrans": "roce_adp_retransmits_total",
    "hw_counters/roce_adp_retrans_to": "roce_adp_retransmits_timeout_total",
    "hw_counters/roce_slow_restart": "roce_slow_restart_used_total",
    "hw_counters/roce_slow_restart_cnps": "roce_slow_restart_cnps_total",
    "hw_counters/roce_slow_restart_trans": "roce_slow_restart_total",
    "hw_counters/rp_cnp_handled": "rp_cnp_packets_handled_total",
    "hw_counters/rp_cnp_ignored": "rp_cnp_ignored_packets_received_total",
    "hw_counters/rx_atomic_requests": "rx_atomic_requests_total",
    "hw_counters/rx_dct_connect": "rx_dct_connect_requests_total",
    "hw_counters/rx_icrc_encapsulated": "rx_icrc_encapsulated_errors_total",
    "hw_counters/rx_read_requests": "rx_read_requests_total",
    "hw_counters/rx_write_requests": "rx_write_requests_total",
}
_GIGABIT_BYTES = 125_000_000


def collect_infiniband(roots: Roots) -> list[Point]:
    """Return the points of InfiniBand devices and their ports.

    Raises: AbsentError where the machine has none.
    """
    folder = f"{roots.sys}/class/infiniband"
    points = []
    for device in names_or_absent(folder):
        path = f"{folder}/{device}"
        told = {"board_id": "board_id", "firmware_version": "fw_ver", "hca_type": "hca_type"}
        texts = {label: some_text(f"{path}/{file}") or "" for label, file in told.items()}
        points.append(Point("node_infiniband_info", 1.0, labelled(device=device, **texts)))
        for port in names(f"{path}/ports"):
            points += _port_points(f"{path}/ports/{port}", labelled(device=device, port=port))
    return points


def _port_points(path: str, labels: tuple[tuple[str, str], ...]) -> list[Point]:
    points = []
    for file, name in (("state", "state_id"), ("phys_state", "physical_state_id")):
        # Such as `4: ACTIVE`.
        state = float(text(f"{path}/{file}").partition(":")[0])
        points.append(Point(f"node_infiniband_{name}", state, labels))
    # Such as `40 Gb/sec (4X QDR)`.
    rate = float(text(f"{path}/rate").split()[0]) * _GIGABIT_BYTES
    points.append(Point("node_infiniband_rate_bytes_per_second", rate, labels))
    there = {
        f"{folder}/{file}"
        for folder in ("counters", "counters_ext", "hw_counters")
        for file in names(f"{path}/{folder}")
    }
    for file, name in _IB_COUNTERS.items():
        value = some_number(f"{path}/{file}") if file in there else None
        if value is not None:
            unit = _LANES if re.search(r"_data(?:_64)?$", file) else 1
            points.append(Point(f"node_infiniband_{name}", float(value * unit), labels))
    lifespan = some_number(f"{path}/hw_counters/lifespan") if "hw_counters/lifespan" in there else None
    if lifespan is not None:
        points.append(Point("node_infiniband_lifespan_seconds", lifespan / 1000, labels))
    return points
