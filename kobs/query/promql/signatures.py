"""The functions of PromQL and the types of their arguments, as of Prometheus 3.8.

Source: Prometheus 3.8, `promql/parser/functions.go`.
"""

from dataclasses import dataclass

from kobs.query.promql.tree import ValueType

_SCALAR, _STRING, _VECTOR, _MATRIX = ValueType.SCALAR, ValueType.STRING, ValueType.VECTOR, ValueType.MATRIX


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes and returns.

    `variadic` is 0 where it takes exactly `arguments`; otherwise the last of them may be left out, and up to `variadic`
    of its type may come (-1: any number). Prometheus knows an experimental function only when it is told to.
    """

    name: str
    arguments: tuple[ValueType, ...]
    variadic: int
    returns: ValueType
    is_experimental: bool


def _signature(
    name: str, *arguments: ValueType, variadic: int = 0, returns: ValueType = _VECTOR, is_experimental: bool = False
) -> Signature:
    return Signature(name, arguments, variadic, returns, is_experimental)


_OF_A_VECTOR = (
    *("abs", "absent", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "deg", "exp", "floor"),
    *("histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"),
    *("ln", "log10", "log2", "rad", "sgn", "sin", "sinh", "sort", "sort_desc", "sqrt", "tan", "tanh", "timestamp"),
)
_OF_A_TIME = ("day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year")
_OF_A_RANGE = (
    *("absent_over_time", "avg_over_time", "changes", "count_over_time", "delta", "deriv", "idelta", "increase"),
    *("irate", "last_over_time", "max_over_time", "min_over_time", "present_over_time", "rate", "resets"),
    *("stddev_over_time", "stdvar_over_time", "sum_over_time"),
)
_OF_A_RANGE_EXPERIMENTAL = (
    *("first_over_time", "mad_over_time"),
    *("ts_of_first_over_time", "ts_of_last_over_time", "ts_of_max_over_time", "ts_of_min_over_time"),
)

FUNCTIONS: dict[str, Signature] = {
    signature.name: signature
    for signature in (
        *(_signature(name, _VECTOR) for name in _OF_A_VECTOR),
        *(_signature(name, _VECTOR, variadic=1) for name in _OF_A_TIME),
        *(_signature(name, _MATRIX) for name in _OF_A_RANGE),
        *(_signature(name, _MATRIX, is_experimental=True) for name in _OF_A_RANGE_EXPERIMENTAL),
        _signature("clamp", _VECTOR, _SCALAR, _SCALAR),
        _signature("clamp_max", _VECTOR, _SCALAR),
        _signature("clamp_min", _VECTOR, _SCALAR),
        _signature("double_exponential_smoothing", _MATRIX, _SCALAR, _SCALAR, is_experimental=True),
        _signature("histogram_fraction", _SCALAR, _SCALAR, _VECTOR),
        _signature("histogram_quantile", _SCALAR, _VECTOR),
        _signature("info", _VECTOR, _VECTOR, variadic=1, is_experimental=True),
        _signature("label_join", _VECTOR, _STRING, _STRING, _STRING, variadic=-1),
        _signature("label_replace", _VECTOR, _STRING, _STRING, _STRING, _STRING),
        _signature("pi", returns=_SCALAR),
        _signature("predict_linear", _MATRIX, _SCALAR),
        _signature("quantile_over_time", _SCALAR, _MATRIX),
        _signature("round", _VECTOR, _SCALAR, variadic=1),
        _signature("scalar", _VECTOR, returns=_SCALAR),
        _signature("sort_by_label", _VECTOR, _STRING, variadic=-1, is_experimental=True),
        _signature("sort_by_label_desc", _VECTOR, _STRING, variadic=-1, is_experimental=True),
        _signature("time", returns=_SCALAR),
        _signature("vector", _SCALAR),
    )
}
"""Every function by its name."""

EXPERIMENTAL_AGGREGATIONS = frozenset({"limitk", "limit_ratio"})
AGGREGATIONS_WITH_PARAMETER = frozenset({"topk", "bottomk", "count_values", "quantile"}) | EXPERIMENTAL_AGGREGATIONS
