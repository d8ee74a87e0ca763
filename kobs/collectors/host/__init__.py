"""Metrics of the machine itself, with node_exporter's names, labels, types and units.

    kernel, devices, filesystems -> sampling -> sample_shipping

`kernel`, `devices` and `filesystems` turn the bytes of /proc and /sys into points; `sampling` reads them in time with
the clock and ships them.
"""

from kobs.collectors.host.sampling import run

__all__ = ["run"]
