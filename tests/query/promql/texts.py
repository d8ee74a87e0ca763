"""Texts of PromQL made at random: right ones from the grammar, and those in which something was taken, put or moved."""

import re

from hypothesis import strategies as st

_names = st.sampled_from(["a", "up", "job:rate:5m", "sum", "by", "offset", "start", "step", "on_time", "X", "http_2xx"])
_labels = st.sampled_from(["job", "le", "by", "on", "bool", "offset", "start", "inf", '"x.y"', "_1"])
_groupings = st.sampled_from(["job", "le", "by", "on", "bool", "offset", '"x.y"', "end", "a:b"])
_values = st.sampled_from(['"b"', "'b|c'", "`\\d+`", '""', '"é\\n"', '".*"', '"\\x41"'])
_numbers = st.sampled_from(["1", "0", "2.5", ".5", "1e3", "1_000", "0x1F", "017", "Inf", "NaN", "5m", "1h30m", "3."])
_durations = st.sampled_from(["5m", "1h", "300", "1m30s", "0.5", "1y", "500ms", "+10s"])
_spaces = st.sampled_from(["", " ", " ", " ", "\n", "\t ", " # c\n"])
_operators = st.sampled_from(["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", "<=", ">", ">="])
_sets = st.sampled_from(["and", "or", "unless"])
_vector_functions = st.sampled_from(["abs", "ln", "sort", "timestamp", "absent", "histogram_sum", "hour", "round"])
_range_functions = st.sampled_from(["rate", "increase", "avg_over_time", "absent_over_time", "deriv", "last_over_time"])
_aggregations = st.sampled_from(["sum", "avg", "count", "min", "MAX", "group", "stddev"])
_with_parameter = st.sampled_from(["topk", "bottomk", "quantile"])


def _listed(items: st.SearchStrategy[str], *, most: int = 3) -> st.SearchStrategy[str]:
    return st.builds(
        lambda parts, comma: ", ".join(parts) + (comma if parts else ""),
        st.lists(items, max_size=most),
        st.sampled_from(["", "", " ,"]),
    )


_matchers = st.builds(
    lambda label, sign, value: f"{label}{sign}{value}", _labels, st.sampled_from(["=", "!=", "=~", "!~"]), _values
)
_at = st.sampled_from(["", "", " @ 10", "@start()", " @ -1.5e3", " @ end ()"])
_offset = st.builds(
    lambda sign, duration: f" offset {sign}{duration}" if duration else "",
    st.sampled_from(["", "-", "+", "- "]),
    st.sampled_from(["", "", "5m", "10", "1h"]),
)
_modifiers = st.builds(lambda at, offset, swap: offset + at if swap else at + offset, _at, _offset, st.booleans())
_bare = st.one_of(
    _names,
    st.builds(lambda name, inner: f"{name}{{{inner}}}", _names, _listed(_matchers)),
    st.builds(lambda matcher, inner: f'{{{matcher},job="x"{inner}}}', _matchers, st.sampled_from(["", ","])),
    st.sampled_from(['{"my.metric"}', '{"m", a="b"}']),
)
_matching = st.builds(
    lambda kind, labels, side, include: "" if not kind else f" {kind}({labels}){side and f' {side}({include})'}",
    st.sampled_from(["", "", "on", "ignoring", "ON"]),
    _listed(_groupings),
    st.sampled_from(["", "", "group_left", "group_right"]),
    st.sampled_from(["", "z", "z, y"]),
)
_grouping = st.builds(
    lambda word, labels: f" {word} ({labels}) " if word else "",
    st.sampled_from(["", "by", "without", "BY"]),
    _listed(_groupings),
)


def _vectors(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    scalars = st.one_of(_numbers, st.just("time()"), st.builds(lambda vector: f"scalar({vector})", inner))
    ranges = st.one_of(
        st.builds(lambda bare, length, rest: f"{bare}[{length}]{rest}", _bare, _durations, _modifiers),
        st.builds(
            lambda vector, length, step, rest: f"({vector})[{length}:{step}]{rest}",
            inner,
            _durations,
            st.one_of(st.just(""), _durations),
            _modifiers,
        ),
    )
    return st.one_of(
        st.builds(lambda bare, rest: bare + rest, _bare, _modifiers),
        st.builds(lambda vector: f"({vector})", inner),
        st.builds(lambda sign, space, vector: f"{sign}{space}{vector}", st.sampled_from("-+"), _spaces, inner),
        st.builds(lambda name, space, vector: f"{name}{space}({vector})", _vector_functions, _spaces, inner),
        st.builds(lambda name, space, points: f"{name}({space}{points})", _range_functions, _spaces, ranges),
        st.builds(lambda phi, points: f"quantile_over_time({phi}, {points})", scalars, ranges),
        st.builds(lambda vector: f"label_replace({vector}, 'a', '$1', \"b\", `(.*)`)", inner),
        st.builds(lambda scalar: f"vector({scalar})", scalars),
        st.builds(
            lambda name, grouping, vector, after: (
                f"{name}({vector}){grouping}" if after else f"{name}{grouping}({vector})"
            ),
            _aggregations,
            _grouping,
            inner,
            st.booleans(),
        ),
        st.builds(
            lambda name, grouping, scalar, vector: f"{name}{grouping}({scalar}, {vector})",
            _with_parameter,
            _grouping,
            scalars,
            inner,
        ),
        st.builds(
            lambda left, sign, returns_bool, matching, right: f"{left} {sign}{returns_bool}{matching} {right}",
            inner,
            _operators,
            st.sampled_from(["", "", " bool"]),
            _matching,
            inner,
        ),
        st.builds(
            lambda left, sign, returns_bool, scalar: f"{left} {sign}{returns_bool} {scalar}",
            inner,
            _operators,
            st.sampled_from(["", "", " bool"]),
            scalars,
        ),
        st.builds(
            lambda left, sign, matching, right: f"{left} {sign}{matching} {right}", inner, _sets, _matching, inner
        ),
    )


expressions = st.recursive(_bare, _vectors, max_leaves=6)
"""Texts of which most are right."""

_PIECES = re.compile(r"\w+|\s+|\"[^\"]*\"|.", re.S)
_strange = st.sampled_from(
    [
        *("(", ")", "{", "}", "[", "]", ",", ":", "@", "=", "==", "=~", "!", "^", "-", "$", "#", '"', "'", "`", "é"),
        *("by", "on", "bool", "offset", "sum", "topk", "rate", "and", "start", "step", "anchored", "nosuch", "inf"),
        *("1", "5m", "1_0", "0x", "3x", "1e", "30s5m", '"x"', "a:b", "mad_over_time", "limitk", " ", "\n"),
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Draw a text in which pieces of a right one were taken out, put in or exchanged."""
    pieces: list[str] = _PIECES.findall(draw(expressions))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(pieces)))
        removed = draw(st.integers(0, 1))
        pieces[place : place + removed] = draw(st.lists(_strange, max_size=1))
    return "".join(pieces)
