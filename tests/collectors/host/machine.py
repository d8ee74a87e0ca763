"""A machine with much hardware: its files as the kernel writes them, made up for these tests."""

# ruff: noqa: E501 - lines of the kernel are as long as they are

from pathlib import Path

from kobs.collectors.host.roots import Roots
from tests.collectors.host.trees import write_tree

SENSORS = {
    "sys/devices/platform/coretemp.0/uevent": "DRIVER=coretemp",
    "sys/class/hwmon/hwmon0/name": "coretemp",
    "sys/class/hwmon/hwmon0/temp1_input": "55000",
    "sys/class/hwmon/hwmon0/temp1_label": "Package id 0",
    "sys/class/hwmon/hwmon0/temp1_max": "84000",
    "sys/class/hwmon/hwmon0/temp1_crit": "100000",
    "sys/class/hwmon/hwmon0/temp1_crit_alarm": "0",
    "sys/class/hwmon/hwmon0/temp2_input": "broken",
    "sys/class/hwmon/hwmon1/name": "nct6779",
    "sys/class/hwmon/hwmon1/beep_enable": "1",
    "sys/class/hwmon/hwmon1/update_interval": "1500",
    "sys/class/hwmon/hwmon1/in0_input": "1016",
    "sys/class/hwmon/hwmon1/in0_min": "0",
    "sys/class/hwmon/hwmon1/in0_max": "1744",
    "sys/class/hwmon/hwmon1/in0_alarm": "1",
    "sys/class/hwmon/hwmon1/in0_beep": "0",
    "sys/class/hwmon/hwmon1/fan2_input": "1098",
    "sys/class/hwmon/hwmon1/fan2_min": "300",
    "sys/class/hwmon/hwmon1/fan2_max": "4300",
    "sys/class/hwmon/hwmon1/fan2_target": "1100",
    "sys/class/hwmon/hwmon1/fan2_alarm": "0",
    "sys/class/hwmon/hwmon1/fan2_beep": "0",
    "sys/class/hwmon/hwmon1/fan2_manual": "0",
    "sys/class/hwmon/hwmon1/fan2_output": "1100",
    "sys/class/hwmon/hwmon1/fan2_pulses": "2",
    "sys/class/hwmon/hwmon1/fan2_tolerance": "0",
    "sys/class/hwmon/hwmon1/intrusion0_alarm": "1",
    "sys/class/hwmon/hwmon1/intrusion0_beep": "0",
    "sys/class/hwmon/hwmon1/power1_input": "23500000",
    "sys/class/hwmon/hwmon1/power1_average_interval": "1000",
    "sys/class/hwmon/hwmon1/curr1_input": "1250",
    "sys/class/hwmon/hwmon1/energy1_input": "3000000",
    "sys/class/hwmon/hwmon1/humidity1_input": "450000",
    "sys/class/hwmon/hwmon1/freq1_input": "300000000",
    "sys/class/hwmon/hwmon1/freq1_label": "sclk",
    "sys/class/hwmon/hwmon1/pwm1": "91",
    "sys/class/hwmon/hwmon1/pwm1_enable": "5",
    "sys/class/hwmon/hwmon1/pwm1_auto_point1_temp": "30000",
}

POWER = {
    "sys/class/power_supply/AC/type": "Mains",
    "sys/class/power_supply/AC/online": "1",
    "sys/class/power_supply/BAT0/type": "Battery",
    "sys/class/power_supply/BAT0/status": "Discharging",
    "sys/class/power_supply/BAT0/technology": "Li-ion",
    "sys/class/power_supply/BAT0/manufacturer": "ACME",
    "sys/class/power_supply/BAT0/serial_number": " ",
    "sys/class/power_supply/BAT0/capacity": "81",
    "sys/class/power_supply/BAT0/present": "1",
    "sys/class/power_supply/BAT0/cycle_count": "17",
    "sys/class/power_supply/BAT0/energy_full": "45070000",
    "sys/class/power_supply/BAT0/energy_full_design": "47520000",
    "sys/class/power_supply/BAT0/energy_now": "36580000",
    "sys/class/power_supply/BAT0/power_now": "5002000",
    "sys/class/power_supply/BAT0/voltage_min_design": "10800000",
    "sys/class/power_supply/BAT0/voltage_now": "11660000",
    "sys/class/power_supply/BAT0/temp": "291",
    "sys/class/powercap/intel-rapl/enabled": "1",
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": "240422366267",
    "sys/class/powercap/intel-rapl:0:0/name": "core",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "118821284256",
    "sys/class/powercap/intel-rapl:1/name": "package-1",
    "sys/class/powercap/intel-rapl:1/energy_uj": "2000000",
    "sys/class/powercap/intel-rapl:1:0/name": "core",
    "sys/class/powercap/intel-rapl:1:0/energy_uj": "1000000",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "12376",
    "sys/class/thermal/cooling_device0/type": "Processor",
    "sys/class/thermal/cooling_device0/cur_state": "1",
    "sys/class/thermal/cooling_device0/max_state": "3",
    "sys/class/watchdog/watchdog0/bootstatus": "1",
    "sys/class/watchdog/watchdog0/fw_version": "2",
    "sys/class/watchdog/watchdog0/nowayout": "0",
    "sys/class/watchdog/watchdog0/timeleft": "300",
    "sys/class/watchdog/watchdog0/timeout": "60",
    "sys/class/watchdog/watchdog0/pretimeout": "120",
    "sys/class/watchdog/watchdog0/access_cs0": "0",
    "sys/class/watchdog/watchdog0/identity": "Software Watchdog",
    "sys/class/watchdog/watchdog0/options": "0x8380",
}

MEMORY_CONTROLLER = {
    "sys/devices/system/edac/mc/mc0/ce_count": "6",
    "sys/devices/system/edac/mc/mc0/ce_noinfo_count": "2",
    "sys/devices/system/edac/mc/mc0/ue_count": "5",
    "sys/devices/system/edac/mc/mc0/ue_noinfo_count": "1",
    "sys/devices/system/edac/mc/mc0/csrow0/ce_count": "4",
    "sys/devices/system/edac/mc/mc0/csrow0/ue_count": "3",
    "sys/devices/system/edac/mc/mc0/csrow0/ch0_ce_count": "4",
    "sys/devices/system/edac/mc/mc0/csrow0/ch0_ue_count": "3",
    "sys/devices/system/edac/mc/mc0/csrow0/ch0_dimm_label": "mc#0csrow#0channel#0",
    "sys/devices/system/edac/mc/mc0/csrow0/ch1_ce_count": "0",
}

MDSTAT = """\
Personalities : [raid1] [raid6] [raid5] [raid4] [raid0]
md0 : active raid1 sdb1[1] sda1[0]
      248896 blocks [2/2] [UU]

md1 : active raid6 sdf[5](S) sde[4] sdd[3](F) sdc[2] sdb[1] sda[0]
      195310144 blocks level 6, 64k chunk, algorithm 2 [5/4] [UUU_U]
      [=>...................]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec
      bitmap: 1/2 pages [4KB], 65536KB chunk

md2 : active raid0 sdh[1] sdg[0]
      314159265 blocks 64k chunks

md3 : inactive sdi[0](S)
      4883648 blocks super 1.2

md4 : active (auto-read-only) raid5 sdl[2] sdk[1] sdj[0]
      7813735424 blocks super 1.2 level 5, 512k chunk, algorithm 2 [3/3] [UUU]
      bitmap: 0/30 pages [0KB], 65536KB chunk
        resync=PENDING

md5 : active raid1 sdn[1] sdm[0]
      100 blocks super 1.2 [2/2] [UU]
      [==>..................]  check = 10.0% (10/100) finish=0.1min speed=1K/sec

unused devices: <none>
"""

DRIVES = {
    "proc/mdstat": MDSTAT,
    "sys/block/md0/md/level": "raid1",
    "sys/block/md0/md/raid_disks": "2",
    "sys/block/md0/md/degraded": "0",
    "sys/block/md1/md/level": "raid6",
    "sys/block/md1/md/raid_disks": "5 (4)",
    "sys/block/md1/md/degraded": "1",
    "sys/class/nvme/nvme0/firmware_rev": "1B2QEXP7",
    "sys/class/nvme/nvme0/model": "ACME SSD 512GB          ",
    "sys/class/nvme/nvme0/serial": "S0042",
    "sys/class/nvme/nvme0/state": "live",
    "sys/class/nvme/nvme0/cntlid": "5",
    "sys/class/nvme/nvme0/nvme0n1/size": "1000215216",
    "sys/class/nvme/nvme0/nvme0n1/nuse": "500000000",
    "sys/class/nvme/nvme0/nvme0n1/queue/logical_block_size": "512",
    "sys/class/nvme/nvme0/nvme0c0n2/size": "100",
    "sys/class/nvme/nvme0/nvme0c0n2/nuse": "10",
    "sys/class/nvme/nvme0/nvme0c0n2/queue/logical_block_size": "4096",
    "sys/class/nvme/nvme0/nvme0c0n2/ana_state": "optimized",
    **{
        f"sys/class/scsi_tape/{tape}/stats/{file}": value
        for tape in ("st0", "nst0", "st0a")
        for file, value in {
            "in_flight": "1",
            "io_ns": "9247011087720",
            "other_cnt": "1409",
            "read_byte_cnt": "979383912",
            "read_cnt": "3741",
            "read_ns": "33788355744",
            "resid_cnt": "19",
            "write_byte_cnt": "1496246784000",
            "write_cnt": "53772916",
            "write_ns": "5233597394395",
        }.items()
    },
    "sys/block/dm-0/dm/uuid": "LVM-abc",
    "sys/block/dm-0/dm/name": "vg0-root",
    "sys/block/dm-5/dm/uuid": "mpath-3600508b1001c0001",
    "sys/block/dm-5/dm/name": "mpathA",
    "sys/block/dm-5/dm/suspended": "0",
    "sys/block/dm-5/size": "2048",
    "sys/block/dm-5/slaves/sdi/uevent": "",
    "sys/block/dm-5/slaves/sdj/uevent": "",
    "sys/block/sdi/device/state": "running",
    "sys/block/sdj/device/state": "offline",
}

FABRICS = {
    "sys/class/fc_host/host0/port_name": "0x1000e0071bce95f2",
    "sys/class/fc_host/host0/port_id": "0x000002",
    "sys/class/fc_host/host0/fabric_name": "0x0",
    "sys/class/fc_host/host0/port_state": "Online",
    "sys/class/fc_host/host0/speed": "16 Gbit",
    **{
        f"sys/class/fc_host/host0/statistics/{file}": hex(value)
        for value, file in enumerate(
            (
                *("error_frames", "invalid_crc_count", "rx_frames", "rx_words", "tx_frames", "tx_words"),
                *("seconds_since_last_reset", "invalid_tx_word_count", "link_failure_count", "loss_of_sync_count"),
                *("loss_of_signal_count", "nos_count", "fcp_packet_aborts"),
            ),
            16,
        )
    },
    "sys/class/fc_host/host0/statistics/dumped_frames": "0xffffffffffffffff",
    "sys/class/fc_host/host1/statistics/dumped_frames": "0x0",
    "sys/class/infiniband/mlx4_0/board_id": "SM_1141000001000",
    "sys/class/infiniband/mlx4_0/fw_ver": "2.31.5050",
    "sys/class/infiniband/mlx4_0/hca_type": "MT4099",
    "sys/class/infiniband/mlx4_0/ports/1/state": "4: ACTIVE",
    "sys/class/infiniband/mlx4_0/ports/1/phys_state": "5: LinkUp",
    "sys/class/infiniband/mlx4_0/ports/1/rate": "40 Gb/sec (4X QDR)",
    "sys/class/infiniband/mlx4_0/ports/1/counters/excessive_buffer_overrun_errors": "N/A (no PMA)",
    "sys/class/infiniband/mlx4_0/ports/1/counters_ext/port_rcv_data_64": "10",
    **{
        f"sys/class/infiniband/mlx4_0/ports/1/{file}": "7"
        for file in (
            *("counters/link_downed", "counters/link_error_recovery", "counters/multicast_rcv_packets"),
            *("counters/multicast_xmit_packets", "counters/port_rcv_constraint_errors", "counters/port_rcv_data"),
            *("counters/port_rcv_discards", "counters/port_rcv_errors", "counters/port_rcv_packets"),
            *("counters/port_xmit_constraint_errors", "counters/port_xmit_data", "counters/port_xmit_discards"),
            *("counters/port_xmit_packets", "counters/port_xmit_wait", "counters/unicast_rcv_packets"),
            *("counters/unicast_xmit_packets", "counters_ext/port_multicast_rcv_packets"),
            *("counters_ext/port_multicast_xmit_packets", "counters_ext/port_rcv_packets_64"),
            *("counters_ext/port_unicast_rcv_packets", "counters_ext/port_unicast_xmit_packets"),
            *("counters_ext/port_xmit_data_64", "counters_ext/port_xmit_packets_64"),
            "hw_counters/out_of_buffer",
        )
    },
    "sys/class/infiniband/mlx4_0/ports/1/hw_counters/lifespan": "10000",
}

IPVS = {
    "proc/1/net/ip_vs_stats": """\
   Total Incoming Outgoing         Incoming         Outgoing
   Conns  Packets  Packets            Bytes            Bytes
 16AA370 E33656E5        0     51D8C8883AB3                0

 Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
       4     1FB3        0          1282A8F                0
""",
    "proc/1/net/ip_vs": """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C0A80016:0CEA wlc
  -> C0A85216:0CEA      Tunnel  100    248        2
  -> C0A85315:0CEA      Tunnel  0      0          1
UDP  [2620:0000:0000:0000:0000:0000:0000:0001]:0035 sh
  -> [2620:0000:0000:0000:0000:0000:0000:000A]:0035      Route   1      0          8
FWM  10001000 wlc
  -> C0A8321A:0CEA      Route   20     64         1
""",
}

NFS = {
    "proc/1/net/rpc/nfs": """\
net 70 69 45 1
rpc 1218785755 374636 1218815394
proc2 18 16 57 74 52 71 73 45 86 0 52 83 61 17 53 50 23 70 82
proc3 22 0 1061909262 48906 4077635 117661341 5 29391916 2570425 2993289 590 0 0 7815 15 1130 0 3983 92385 13332 2 1 23729
proc4 61 1 0 0 0 0 0 0 0 0 0 0 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9
""",
    "proc/1/net/rpc/nfsd": """\
rc 0 6 18622
fh 4 0 0 0 0
io 157286400 72864
th 8 0 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000
ra 32 0 0 0 0 0 0 0 0 0 0 3
net 18628 1 18627 6
rpc 18628 2 1 1 0
proc2 18 2 69 0 0 4410 0 0 0 0 0 0 0 0 0 0 0 99 2
proc3 22 2 112 0 2719 111 0 0 0 0 0 0 0 0 0 0 0 27 216 0 2 1 0
proc4 2 2 10853
proc4ops 72 0 0 0 1098 2 0 0 0 0 8179 5896 0 0 0 0 5900 0 0 2 0 2 0 9609 0 2 150 1272 0 0 0 1236 0 0 0 0 3 3 0 7 11 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
wdeleg_getattr 15
""",
}

_UUID = "0abb23a9-579b-43e6-ad30-227ef47fcb9d"
_BTRFS = f"sys/fs/btrfs/{_UUID}"
_BCACHE = "sys/fs/bcache/deaddd54-c735-46d5-868e-f331c5fd7c74"

FILE_SYSTEMS = {
    "sys/fs/xfs/stats/stats": "extent_alloc 9 9 9 9",
    "sys/fs/xfs/sda1/stats/stats": """\
extent_alloc 1 872 2 3
abt 4 5 6 7
blk_map 61 29 8 9 10 91 11
bmbt 12 13 14 15
dir 3 2 1 52
trans 4 40 0
ig 5 1 16 4 17 18 19
log 8 21 0 5 82
push_ail 99 0 14 4 0 18 0 3 0 0
xstrat 1 0
rw 28 20
attr 0 0 0 0
icluster 0 3 4
vnodes 4 21 22 23 24 25 26 0
buf 14 8 11 0 11 2 0 14 2
xpc 1347584 105185 0
""",
    f"{_BTRFS}/label": "data",
    f"{_BTRFS}/metadata_uuid": _UUID,
    f"{_BTRFS}/commit_stats": "commits 258051\nlast_commit_ms 1000\nmax_commit_ms 51462\ntotal_commit_ms 47836090",
    f"{_BTRFS}/allocation/global_rsv_size": "16777216",
    **{
        f"{_BTRFS}/allocation/{group}/{file}": value
        for group, layout in (("data", "raid0"), ("metadata", "raid5"), ("system", "raid1"))
        for file, value in {
            "bytes_reserved": "7",
            f"{layout}/used_bytes": "808189952",
            f"{layout}/total_bytes": "2147483648",
        }.items()
    },
    **{f"{_BTRFS}/devices/loop{number}/size": "20971520" for number in (1, 2, 3)},
    "sys/fs/btrfs/features/raid56": "0",
    f"{_BCACHE}/average_key_size": "0",
    f"{_BCACHE}/btree_cache_size": "1.5M",
    f"{_BCACHE}/cache_available_percent": "100",
    f"{_BCACHE}/congested": "0",
    f"{_BCACHE}/root_usage_percent": "0",
    f"{_BCACHE}/tree_depth": "1",
    f"{_BCACHE}/internal/active_journal_entries": "1",
    f"{_BCACHE}/internal/btree_nodes": "0",
    f"{_BCACHE}/internal/btree_read_average_duration_us": "1305",
    f"{_BCACHE}/internal/cache_read_races": "0",
    f"{_BCACHE}/bdev0/dirty_data": "2.0k",
    f"{_BCACHE}/bdev0/writeback_rate_debug": (
        "rate:\t\t1.1M/sec\ndirty:\t\t20.4G\ntarget:\t\t20.4G\nproportional:\t427.5k\nintegral:\t790.0k\n"
        "change:\t\t-321.5k/sec\nnext io:\t17ms"
    ),
    f"{_BCACHE}/bdev0/stats_total/bypassed": "0",
    f"{_BCACHE}/bdev0/stats_total/cache_hits": "546",
    f"{_BCACHE}/bdev0/stats_total/cache_misses": "3",
    f"{_BCACHE}/bdev0/stats_total/cache_bypass_hits": "0",
    f"{_BCACHE}/bdev0/stats_total/cache_bypass_misses": "0",
    f"{_BCACHE}/bdev0/stats_total/cache_miss_collisions": "0",
    f"{_BCACHE}/bdev0/stats_total/cache_readaheads": "13",
    f"{_BCACHE}/cache0/io_errors": "0",
    f"{_BCACHE}/cache0/metadata_written": "512",
    f"{_BCACHE}/cache0/written": "1.0k",
}

_BCACHEFS = "sys/fs/bcachefs/deadbeef-1234-5678-9012-abcdefabcdef"
BCACHEFS = {
    f"{_BCACHEFS}/btree_cache_size": "2.05G",
    f"{_BCACHEFS}/compression_stats": (
        "type       compressed uncompressed average extent size\nlz4:       48.9G 71.2G 50.0k\nincompressible:  10.8T 10.8T 61k"
    ),
    f"{_BCACHEFS}/btree_write_stats": "                nr  size\ninitial:          3298401  100k\ncache_reclaim:      14401  720",
    f"{_BCACHEFS}/errors": "btree_node_bset_older_than_sb_min 1 1720000000\nfs_usage_data_wrong 3 1720000001",
    f"{_BCACHEFS}/counters/io_read": "since mount:               10.5G\nsince filesystem creation: 1.5M",
    f"{_BCACHEFS}/counters/btree-node-read": "since mount: 1\nsince filesystem creation: 17",
    f"{_BCACHEFS}/dev-4/label": "hdd.1",
    f"{_BCACHEFS}/dev-4/state": "[rw] ro evacuating spare",
    f"{_BCACHEFS}/dev-4/bucket_size": "2.00M",
    f"{_BCACHEFS}/dev-4/nbuckets": "7629824",
    f"{_BCACHEFS}/dev-4/durability": "1",
    f"{_BCACHEFS}/dev-4/io_done": "read:\nsb          :       40960\nbtree       :  2193358848\n\nwrite:\nbtree       :      589824",
    f"{_BCACHEFS}/dev-4/io_errors": (
        "IO errors since filesystem creation\n  read:    5\n  write:   0\n"
        "IO errors since 8 y ago\n  read:    1\n  write:   0"
    ),
}

ZFS = {
    "proc/spl/kstat/zfs/arcstats": """\
6 1 0x01 91 4368 5266997922 97951858082072
name                            type data
hits                            4    8772612
memory_available_bytes          3    -922337203
some_text                       7    none
""",
    "proc/spl/kstat/zfs/zil": "11 1 0x01 13 624 8013 9\nname type data\nzil_commit_count 4 10\n",
    "proc/spl/kstat/zfs/pool1/state": "DEGRADED",
    "proc/spl/kstat/zfs/pool1/io": """\
12 3 0x00 1 80 79205351707403 395818011156865
nread    nwritten reads    writes   wtime    wlentime wupdate  rtime    rlentime rupdate  wcnt     rcnt
1884160  3206144  22       132      7155162  104112268 79210489694949 24168078 104112268 79210489849220 0 0
""",
    "proc/spl/kstat/zfs/pool1/objset-1": """\
23 1 0x01 7 2160 221578688875 6665999035587
name                            type data
dataset_name                    7    pool1/my data
writes                          4    4
nwritten                        4    12302
""",
}

RICH = {
    **SENSORS,
    **POWER,
    **MEMORY_CONTROLLER,
    **DRIVES,
    **FABRICS,
    **IPVS,
    **NFS,
    **FILE_SYSTEMS,
    **BCACHEFS,
    **ZFS,
}


def rich_machine(folder: Path) -> Roots:
    """Write the machine's files below a folder."""
    write_tree(folder, RICH)
    (folder / "sys/class/hwmon/hwmon0/device").symlink_to(folder / "sys/devices/platform/coretemp.0")
    return Roots(folder / "proc", folder / "sys", str(folder), folder / "udev")
