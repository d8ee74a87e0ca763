"""kobs and a real node_exporter look at the same machine: same series, same types, same values.

What differs on purpose is listed here with its reason, and is nothing else.
"""

import math
import re
from collections.abc import Iterator

import pytest

from kobs.collectors.host.families import family_of
from kobs.collectors.host.reading import HostReader
from kobs.collectors.host.roots import Roots
from tests.collectors.host.node_exporter import Series, get, parse, running_node_exporter, series_of, types_in

NOT_COMPARED = {
    "node_exporter_build_info": "each names its own version",
}
COMES_AND_GOES = re.compile(r"veth.*|[a-f0-9]{15}")
"""Network devices that kobs leaves out: one end of each container's network, as kube-prometheus leaves them out."""
MOVING = re.compile(
    # They jump between two looks.
    r"node_(?:procs_.*|disk_io_now|udp_queues|sockstat_.*|load.*|scrape_collector_duration_seconds|entropy_.*"
    r"|memory_(?:Dirty|Writeback|Cached|Buffers|MemFree|MemAvailable|A.*|Ina.*|KernelStack|PageTables|Mapped|Shmem"
    r"|Committed_AS|S.*|Percpu|VmallocUsed|Mlocked|Unevictable).*|filefd_allocated|timex_.*|nf_conntrack_entries"
    r"|filesystem_.*|netstat_Tcp_CurrEstab|arp_entries|softnet_backlog_len)"
)
"""Gauges that move meanwhile; they may differ by a fifth, or 64 MiB, or 50 things."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A node_exporter with its defaults."""
    with running_node_exporter() as url:
        yield url


def test_same_series(address: str) -> None:
    """Series come and go with other programs' mounts, devices and sockets: so one look in five must be equal."""
    reader = HostReader(Roots())
    for _ in range(5):
        theirs = {series for series in parse(get(address)) if _is_compared(series)}
        ours = {series for series in map(series_of, reader.read()) if _is_compared(series)}
        if ours == theirs:
            return
    assert ours == theirs


def test_same_types(address: str) -> None:
    text = get(address)
    types = types_in(text)
    names = {point.name for point in HostReader(Roots()).read()} - NOT_COMPARED.keys()
    assert names
    assert {name: _TYPE_NAMES.get(family_of(name).type.value, family_of(name).type.value) for name in names} == {
        name: types[name] for name in names
    }


def test_same_values(address: str) -> None:
    """Between two looks of node_exporter kobs looks; its values lie between, in one of some tries for each series."""
    reader = HostReader(Roots())
    wrong: dict[Series, tuple[float, float, float]] = {}
    for attempt in range(6):
        before = parse(get(address))
        ours = {series_of(point): point.value for point in reader.read()}
        after = parse(get(address))
        found = {
            series: (before[series], value, after[series])
            for series, value in ours.items()
            if _is_compared(series) and series in before and series in after
            if not _lies_between(series[0], before[series], value, after[series])
        }
        wrong = found if attempt == 0 else {series: found[series] for series in wrong.keys() & found.keys()}
        if not wrong:
            break
    assert wrong == {}


_TYPE_NAMES = {"unknown": "untyped"}


def _is_compared(series: Series) -> bool:
    name, labels = series
    values = dict(labels)
    return (
        name not in NOT_COMPARED
        and COMES_AND_GOES.fullmatch(values.get("device", "")) is None
        # Other tests mount and unmount meanwhile.
        and (not name.startswith("node_filesystem_") or values.get("mountpoint") == "/")
    )


def _lies_between(name: str, before: float, value: float, after: float) -> bool:
    low, high = sorted((before, after))
    if math.isnan(value) and math.isnan(before):
        return True
    slack = abs(high) * 1e-9
    if name.endswith("_seconds_total"):
        # The kernel's times of a CPU step back at times, and each program holds its own.
        slack += 0.05
    if MOVING.fullmatch(name):
        slack += max(abs(high) * 0.2, 64 * 1024 * 1024 if name.endswith("_bytes") else 50)
    return low - slack <= value <= high + slack
