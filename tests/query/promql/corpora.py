"""Expressions that kobs must understand: the compliance queries, and kube-prometheus' rules and dashboards."""

import csv
import json
import re
from pathlib import Path

_VARIABLES = {
    "$__rate_interval": "5m",
    "$__interval": "1m",
    "$__range": "1h",
    "[$interval:$resolution]": "[5m:1m]",
}
"""What Grafana puts in the place of its variables; others stand inside of strings and stay."""


def compliance(folder: Path) -> list[tuple[str, bool]]:
    """Return the compliance queries, and of each whether Prometheus 3 must refuse it."""
    queries = json.loads((folder / "queries.json").read_text())
    return [(query["query"], query["should_fail_v3"]) for query in queries]


def kube_prometheus(folder: Path) -> list[str]:
    """Return the expressions of all rules and panels."""
    found = []
    for name, column in (("rules.tsv", "expr"), ("panel-queries.tsv", "query")):
        with (folder / name).open(newline="") as file:
            found.extend(row[column] for row in csv.DictReader(file, delimiter="\t"))
    pattern = re.compile("|".join(re.escape(variable) for variable in _VARIABLES))
    return [pattern.sub(lambda match: _VARIABLES[match[0]], expression) for expression in found]
