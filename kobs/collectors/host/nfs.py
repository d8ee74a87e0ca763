"""NFS, as client and as server: requests by version and method, packets, errors.

Source: /proc/net/rpc/nfs and nfsd as net/sunrpc/stats.c and fs/nfsd/stats.c write them, the order of methods from
include/linux/nfs4.h; node_exporter 1.12 (names of metrics and methods).
"""

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import Roots, read_or_absent

_V2 = (
    "Null GetAttr SetAttr Root Lookup ReadLink Read WrCache Write Create Remove Rename Link SymLink MkDir"
    " RmDir ReadDir FsStat"
)
_V3 = (
    "Null GetAttr SetAttr Lookup Access ReadLink Read Write Create MkDir SymLink MkNod Remove RmDir Rename"
    " Link ReadDir ReadDirPlus FsStat FsInfo PathConf Commit"
)
_V4_CLIENT = (
    "Null Read Write Commit Open OpenConfirm OpenNoattr OpenDowngrade Close Setattr FsInfo Renew SetClientID"
    " SetClientIDConfirm Lock Lockt Locku Access Getattr Lookup LookupRoot Remove Rename Link Symlink Create"
    " Pathconf StatFs ReadLink ReadDir ServerCaps DelegReturn GetACL SetACL FsLocations ReleaseLockowner"
    " Secinfo FsidPresent ExchangeID CreateSession DestroySession Sequence GetLeaseTime ReclaimComplete"
    " LayoutGet GetDeviceInfo LayoutCommit LayoutReturn SecinfoNoName TestStateID FreeStateID GetDeviceList"
    " BindConnToSession DestroyClientID Seek Allocate DeAllocate LayoutStats Clone"
)
_V4_SERVER = (
    "- - - Access Close Commit Create DelegPurge DelegReturn GetAttr GetFH Link Lock Lockt Locku Lookup"
    " LookupRoot Nverify Open OpenAttr OpenConfirm OpenDgrd PutFH - - Read ReadDir ReadLink Remove Rename"
    " Renew RestoreFH SaveFH SecInfo SetAttr SetClientID SetClientIDConfirm Verify Write RelLockOwner"
)
"""Operations in the order of their numbers; `-` is one that is not shown, as all from 40 on."""

Lines = dict[str, list[float]]
"""The numbers of each line by its first word."""


def _parse(stats: bytes) -> Lines:
    return {
        fields[0]: [float(number) for number in fields[1:]]
        for line in stats.decode().splitlines()
        if (fields := line.split())
    }


def _methods(name: str, version: str, methods: str, counts: list[float]) -> list[Point]:
    """Return the points of a line that starts with how many counts it has; older kernels know fewer methods."""
    return [
        Point(name, count, labelled(proto=version, method=method))
        for method, count in zip(methods.split(), counts[1:], strict=False)
        if method != "-"
    ]


def _packets(prefix: str, counts: list[float]) -> list[Point]:
    _, udp, tcp, connections = counts
    return [
        Point(f"{prefix}_packets_total", udp, (("protocol" if prefix == "node_nfs" else "proto", "udp"),)),
        Point(f"{prefix}_packets_total", tcp, (("protocol" if prefix == "node_nfs" else "proto", "tcp"),)),
        Point(f"{prefix}_connections_total", connections),
    ]


def client_points(stats: bytes) -> list[Point]:
    """Return the points of /proc/net/rpc/nfs."""
    lines = _parse(stats)
    name = "node_nfs_requests_total"
    calls, repeated, refreshed = lines["rpc"]
    return [
        *_packets("node_nfs", lines["net"]),
        Point("node_nfs_rpcs_total", calls),
        Point("node_nfs_rpc_retransmissions_total", repeated),
        Point("node_nfs_rpc_authentication_refreshes_total", refreshed),
        *_methods(name, "2", _V2, lines.get("proc2", [])),
        *_methods(name, "3", _V3, lines.get("proc3", [])),
        *_methods(name, "4", _V4_CLIENT, lines.get("proc4", [])),
    ]


def server_points(stats: bytes) -> list[Point]:
    """Return the points of /proc/net/rpc/nfsd; newer kernels have dropped some lines."""
    lines = _parse(stats)
    name = "node_nfsd_requests_total"
    hits, misses, nocache = lines["rc"]
    read_bytes, written_bytes = lines["io"]
    calls, _, malformed, unauthorized, wrong_client = lines["rpc"]
    points = [
        Point("node_nfsd_reply_cache_hits_total", hits),
        Point("node_nfsd_reply_cache_misses_total", misses),
        Point("node_nfsd_reply_cache_nocache_total", nocache),
        Point("node_nfsd_file_handles_stale_total", lines["fh"][0]),
        Point("node_nfsd_disk_bytes_read_total", read_bytes),
        Point("node_nfsd_disk_bytes_written_total", written_bytes),
        Point("node_nfsd_server_threads", lines["th"][0]),
        *_packets("node_nfsd", lines["net"]),
        Point("node_nfsd_server_rpcs_total", calls),
        Point("node_nfsd_rpc_errors_total", malformed, (("error", "fmt"),)),
        Point("node_nfsd_rpc_errors_total", unauthorized, (("error", "auth"),)),
        Point("node_nfsd_rpc_errors_total", wrong_client, (("error", "cInt"),)),
        *_methods(name, "2", _V2.replace("Null", "-"), lines.get("proc2", [])),
        *_methods(name, "3", _V3.replace("Null", "-"), lines.get("proc3", [])),
        *_methods(name, "4", _V4_SERVER, lines.get("proc4ops", [])),
    ]
    if "ra" in lines:
        points += [
            Point("node_nfsd_read_ahead_cache_size_blocks", lines["ra"][0]),
            Point("node_nfsd_read_ahead_cache_not_found_total", lines["ra"][-1]),
        ]
    if "wdeleg_getattr" in lines:
        points.append(Point(name, lines["wdeleg_getattr"][0], labelled(proto="4", method="WdelegGetattr")))
    return points


def collect_nfs(roots: Roots) -> list[Point]:
    """Return the points of the client.

    Raises: AbsentError where the kernel has none.
    """
    return client_points(read_or_absent(f"{roots.net}/rpc/nfs"))


def collect_nfsd(roots: Roots) -> list[Point]:
    """Return the points of the server.

    Raises: AbsentError where the kernel has none.
    """
    return server_points(read_or_absent(f"{roots.net}/rpc/nfsd"))
