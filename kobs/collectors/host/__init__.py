"""Metrics of the machine itself, with node_exporter's names, labels, types and units.

    roots -> kernel, cpu, disks, ... -> reading -> sampling -> sample_shipping

`roots` knows where the machine's files are. A module of one part of the machine (`cpu`, `disks`, `protocols`) has
collectors, functions from roots to points; `textfile` reads what other programs leave in files. `reading` runs all
collectors, each failing on its own, `families` says of a metric what is said once, and `sampling` does it in time with
the clock and ships. docs/host-metrics.md lists the collectors and where they differ.
"""

from kobs.collectors.host.sampling import run

__all__ = ["run"]
