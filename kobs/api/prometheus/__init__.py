"""Prometheus' HTTP API, as its clients expect it: paths, parameters, JSON to the character, errors.

Source: Prometheus 3, `web/api/v1/api.go`, `web/api/v1/json_codec.go`, `util/jsonutil`, `web/federate.go`.
"""

from kobs.api.prometheus.router import router

__all__ = ["router"]
