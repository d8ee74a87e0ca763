"""kobs shows people what happens in their Kubernetes clusters.

The folders are the path of the data, in this order:

    collectors -> wire -> ingest -> storage -> query -> alerts -> health -> api

`collectors` scrape and tail on a node and ship frames in the form that `wire` defines; `ingest` limits, parses and
inserts them through `storage`, the only door to ClickHouse; `query` reads what was stored; `alerts` evaluates and
notifies; `health` judges; `api` answers. `model` holds the words that all of them use, `errors` what can go wrong.
"""

__version__ = "0.1.0"
