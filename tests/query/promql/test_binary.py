"""Binary operators: numbers as in Go, series matched by labels, each moment with the series that are there."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from kobs.errors import QueryEvaluationError
from kobs.query.promql import arithmetic, binary
from kobs.query.promql.tree import Cardinality, VectorMatching
from tests.query.promql.vectors import Row, same, told, vector

INF, NAN = math.inf, math.nan
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

ONE, LEFT, RIGHT, SETS = (
    Cardinality.ONE_TO_ONE,
    Cardinality.MANY_TO_ONE,
    Cardinality.ONE_TO_MANY,
    Cardinality.MANY_TO_MANY,
)


def matching(
    cardinality: Cardinality = ONE,
    *,
    on: Sequence[str] | None = None,
    ignoring: Sequence[str] = (),
    include: Sequence[str] = (),
) -> VectorMatching:
    return VectorMatching(cardinality, tuple(ignoring if on is None else on), on is not None, tuple(include))


def work(
    operator: str,
    left: dict[str, Row],
    right: dict[str, Row],
    how: VectorMatching | None = None,
    *,
    returns_bool: bool = False,
) -> dict[str, list[float | None]]:
    how = how if how is not None else matching()
    if how.cardinality is SETS:
        return told(binary.of_sets(operator, vector(left), vector(right), how))
    return told(binary.of_vectors(operator, vector(left), vector(right), how, returns_bool=returns_bool))


# -- numbers -----------------------------------------------------------------------------------------------------------

EDGES = [0.0, -0.0, 1.0, -1.0, 2.5, -3.0, 0.5, INF, -INF, NAN, 1e308, 5e-324]


def plain_mod(left: float, right: float) -> float:
    if math.isinf(left) or right == 0 or math.isnan(left) or math.isnan(right):
        return NAN
    return math.fmod(left, right)


def plain_pow(left: float, right: float) -> float:
    if right == 0 or left == 1:
        return 1.0
    if math.isnan(left) or math.isnan(right):
        return NAN
    is_odd = math.isfinite(right) and right == int(right) and int(right) % 2 == 1
    if left == 0:
        if right < 0:
            return math.copysign(INF, left) if is_odd else INF
        return left if is_odd else 0.0
    if math.isinf(right):
        if left == -1:
            return 1.0
        return INF if (abs(left) > 1) == (right > 0) else 0.0
    try:
        return math.pow(left, right)
    except ValueError:
        return NAN
    except OverflowError:
        return -INF if left < 0 and is_odd else INF


def plain_divide(left: float, right: float) -> float:
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left) or math.isnan(right):
        return NAN
    return math.copysign(INF, left) * math.copysign(1, right)


PLAIN = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": plain_divide,
    "%": plain_mod,
    "^": plain_pow,
    "atan2": math.atan2,
    "==": lambda left, right: float(left == right),
    "!=": lambda left, right: float(left != right),
    ">": lambda left, right: float(left > right),
    "<": lambda left, right: float(left < right),
    ">=": lambda left, right: float(left >= right),
    "<=": lambda left, right: float(left <= right),
}


@pytest.mark.parametrize("operator", PLAIN)
def test_numbers_at_all_edges(operator: str) -> None:
    for left, right in itertools.product(EDGES, EDGES):
        found = arithmetic.of_numbers(operator, np.array([left]), np.array([right]))[0].item()
        expected = PLAIN[operator](left, right)
        assert repr(found) == repr(expected) or found == pytest.approx(expected, rel=1e-15), (left, right)


@pytest.mark.parametrize("operator", PLAIN)
def test_many_numbers_and_one_at_all_edges(operator: str) -> None:
    """numpy has short cuts for an operand that is the same throughout."""
    for one in EDGES:
        for left, right in (([one], EDGES), (EDGES, [one])):
            found = arithmetic.of_numbers(operator, np.array(left)[:, None], np.array(right)[None, :]).ravel().tolist()
            pairs = list(itertools.product(left, right))
            for value, (first, second) in zip(found, pairs, strict=True):
                expected = PLAIN[operator](first, second)
                assert repr(value) == repr(expected) or value == pytest.approx(expected, rel=1e-15), (first, second)


# -- a vector and a number ---------------------------------------------------------------------------------------------

GAPS: dict[str, Row] = {"m a=1": [1.0, None, 3.0], "m a=2": [4.0, 5.0, NAN]}


def scalar(
    operator: str,
    left: dict[str, Row] | list[float],
    right: dict[str, Row] | list[float],
    *,
    returns_bool: bool = False,
) -> dict[str, list[float | None]]:
    rows, numbers = (right, left) if isinstance(left, list) else (left, right)
    assert isinstance(rows, dict)
    found = binary.with_scalar(
        operator, vector(rows), np.array(numbers), scalar_is_left=isinstance(left, list), returns_bool=returns_bool
    )
    return told(found)


def test_arithmetic_with_a_number_drops_the_name() -> None:
    assert same(scalar("-", GAPS, [1.0, 2.0, 3.0]), {" a=1": [0.0, None, 0.0], " a=2": [3.0, 3.0, NAN]})
    assert same(scalar("-", [1.0, 2.0, 3.0], GAPS), {" a=1": [0.0, None, 0.0], " a=2": [-3.0, -3.0, NAN]})
    assert same(scalar("+", {"m __type__=gauge __unit__=s a=1": [1.0]}, [1.0]), {" a=1": [2.0]})


def test_a_comparison_with_a_number_keeps_the_vectors_values() -> None:
    assert same(scalar(">", GAPS, [2.0, 2.0, 2.0]), {"m a=1": [None, None, 3.0], "m a=2": [4.0, 5.0, None]})
    assert same(scalar("<", [2.0, 2.0, 2.0], GAPS), {"m a=1": [None, None, 3.0], "m a=2": [4.0, 5.0, None]})
    assert same(scalar("!=", GAPS, [1.0, 5.0, 0.0]), {"m a=1": [None, None, 3.0], "m a=2": [4.0, None, NAN]})
    expected: dict[str, Row] = {" a=1": [0.0, None, 1.0], " a=2": [1.0, 1.0, 0.0]}
    assert same(scalar(">", GAPS, [2.0, 2.0, 2.0], returns_bool=True), expected)


def test_series_of_one_label_set_are_one_as_long_as_they_do_not_meet() -> None:
    assert same(scalar("*", {"a x=1": [1.0, None], "b x=1": [None, 2.0]}, [2.0, 2.0]), {" x=1": [2.0, 4.0]})
    with pytest.raises(QueryEvaluationError, match="vector cannot contain metrics with the same labelset"):
        scalar("*", {"a x=1": [1.0, None], "b x=1": [1.0, 2.0]}, [2.0, 2.0])


# -- two vectors -------------------------------------------------------------------------------------------------------


def test_one_to_one_takes_the_series_with_the_same_labels() -> None:
    left: dict[str, Row] = {"l a=1 b=1": [1.0, 2.0], "l a=2 b=1": [3.0, None], "l a=3 b=1": [4.0, 4.0]}
    right: dict[str, Row] = {"r a=1 b=1": [10.0, None], "r a=2 b=1": [20.0, 20.0], "r a=4 b=1": [1.0, 1.0]}
    assert same(work("+", left, right), {" a=1 b=1": [11.0, None], " a=2 b=1": [23.0, None]})
    assert same(work("<", left, right), {"l a=1 b=1": [1.0, None], "l a=2 b=1": [3.0, None]})
    assert same(work(">", left, right, returns_bool=True), {" a=1 b=1": [0.0, None], " a=2 b=1": [0.0, None]})
    assert work("+", left, {}) == work("+", {}, right) == {}


def test_one_to_one_on_and_ignoring_labels() -> None:
    left: dict[str, Row] = {"l a=1 b=x": [1.0], "l a=2 b=y": [2.0]}
    right: dict[str, Row] = {"r a=1 c=z": [5.0], "r a=2": [6.0]}
    assert same(work("*", left, right, matching(on=["a"])), {" a=1": [5.0], " a=2": [12.0]})
    assert same(work("<", left, right, matching(on=["a"])), {" a=1": [1.0], " a=2": [2.0]})
    assert same(work("*", left, right, matching(ignoring=["b", "c"])), {" a=1": [5.0], " a=2": [12.0]})
    assert same(work("<", left, right, matching(ignoring=["b", "c"])), {"l a=1": [1.0], "l a=2": [2.0]})
    assert same(work("==", {"l a=1": [1.0]}, {"l a=2": [1.0]}, matching(on=["__name__"])), {"l": [1.0]})
    assert work("==", {"l a=1": [1.0]}, {"r a=1": [1.0]}, matching(on=["__name__", "a"])) == {}


def test_many_to_one_keeps_the_labels_of_the_many() -> None:
    many: dict[str, Row] = {"l g=1 n=1": [8.0], "l g=1 n=2 x=old": [6.0], "l g=2 n=1": [3.0], "l g=3 n=1": [1.0]}
    one: dict[str, Row] = {"r g=1 x=new": [2.0], "r g=2": [3.0]}
    left = matching(LEFT, on=["g"], include=["x"])
    assert same(work("/", many, one, left), {" g=1 n=1 x=new": [4.0], " g=1 n=2 x=new": [3.0], " g=2 n=1": [1.0]})
    right = matching(RIGHT, on=["g"], include=["x"])
    assert same(work("/", one, many, right), {" g=1 n=1 x=new": [0.25], " g=1 n=2 x=new": [2 / 6], " g=2 n=1": [1.0]})
    assert same(work("<", one, many, right), {"l g=1 n=1 x=new": [2.0], "l g=1 n=2 x=new": [2.0]})
    assert same(
        work("<", one, many, right, returns_bool=True),
        {" g=1 n=1 x=new": [1.0], " g=1 n=2 x=new": [1.0], " g=2 n=1": [0.0]},
    )


def test_the_one_may_be_another_series_at_another_moment() -> None:
    many: dict[str, Row] = {"l g=1 n=1": [1.0, 2.0, 3.0]}
    one: dict[str, Row] = {"r g=1 x=a": [10.0, None, None], "r g=1 x=b": [None, 20.0, None]}
    assert same(work("+", many, one, matching(LEFT, on=["g"])), {" g=1 n=1": [11.0, 22.0, None]})
    assert same(
        work("+", many, one, matching(LEFT, on=["g"], include=["x"])),
        {" g=1 n=1 x=a": [11.0, None, None], " g=1 n=1 x=b": [None, 22.0, None]},
    )
    assert same(work("+", one, many, matching(on=["g"])), {" g=1": [11.0, 22.0, None]})


def test_two_series_on_the_side_of_one_are_an_error_where_they_meet() -> None:
    left: dict[str, Row] = {"l g=1": [1.0, 1.0]}
    right: dict[str, Row] = {"r g=1 x=a": [1.0, None], 'r g=1 x=b"': [1.0, 1.0]}
    message = (
        'found duplicate series for the match group {g="1"} on the right hand-side of the operation: '
        '[{__name__="r", g="1", x="b\\""}, {__name__="r", g="1", x="a"}]'
        ";many-to-many matching not allowed: matching labels must be unique on one side"
    )
    for cardinality in (ONE, LEFT):
        with pytest.raises(QueryEvaluationError) as raised:
            work("+", left, right, matching(cardinality, on=["g"]))
        assert str(raised.value) == message
    with pytest.raises(QueryEvaluationError) as raised:
        work("+", right, left, matching(RIGHT, on=["g"]))
    assert str(raised.value) == message.replace("right", "left")
    with pytest.raises(QueryEvaluationError, match=r"match group \{g=\"1\"\} on the right"):
        work("+", left, right, matching(ignoring=["x"]))
    # of several groups that of the first labels, wherever they come
    several: dict[str, Row] = {f"r g={group} x={x}": [1.0, 1.0] for group in (3, 2) for x in ("c", "b", "a")}
    with pytest.raises(
        QueryEvaluationError, match=r'group \{g="2"\} .* g="2", x="b"\}, \{__name__="r", g="2", x="a"\}'
    ):
        work("+", left, several, matching(on=["g"]))
    # a moment at which nothing is on the other side is not looked at
    assert same(work("+", {"l g=1": [None, 1.0]}, right, matching(on=["g"])), {" g=1": [None, 2.0]})
    # also of series that match nothing
    with pytest.raises(QueryEvaluationError, match="found duplicate series"):
        work("+", {"l g=2": [1.0, 1.0]}, right, matching(on=["g"]))


def test_several_matches_are_an_error_once_the_comparison_is_true() -> None:
    left: dict[str, Row] = {"l g=1 n=1": [1.0], "l g=1 n=2": [5.0]}
    right: dict[str, Row] = {"r g=1": [3.0]}
    with pytest.raises(QueryEvaluationError, match="many-to-one matching must be explicit"):
        work("+", left, right, matching(on=["g"]))
    assert same(work(">", left, right, matching(on=["g"])), {" g=1": [5.0]})
    with pytest.raises(QueryEvaluationError, match="many-to-one matching must be explicit"):
        work(">", left, right, matching(on=["g"]), returns_bool=True)


def test_included_labels_must_leave_series_different() -> None:
    left: dict[str, Row] = {"l g=1 n=1": [1.0], "l g=1 n=2": [5.0]}
    with pytest.raises(QueryEvaluationError, match="grouping labels must ensure unique matches"):
        work("+", left, {"r g=1 n=9": [3.0]}, matching(LEFT, on=["g"], include=["n"]))
    by_name = matching(LEFT, on=["__name__"])
    with pytest.raises(QueryEvaluationError, match="vector cannot contain metrics with the same labelset"):
        work("+", {"a g=1": [1.0], "b g=1": [1.0]}, {"a n=1": [1.0], "b n=1": [1.0]}, by_name)


# -- sets --------------------------------------------------------------------------------------------------------------

SET_LEFT: dict[str, Row] = {"l a=1": [1.0, 1.0, None, 1.0], "l a=2": [2.0, 2.0, 2.0, 2.0]}
SET_RIGHT: dict[str, Row] = {"r a=1": [9.0, None, 9.0, 9.0], "r a=3": [8.0, None, 8.0, 8.0]}


def test_and_or_unless_at_each_moment() -> None:
    how = matching(SETS)
    assert same(work("and", SET_LEFT, SET_RIGHT, how), {"l a=1": [1.0, None, None, 1.0]})
    assert same(work("unless", SET_LEFT, SET_RIGHT, how), {"l a=1": [None, 1.0, None, None], "l a=2": [2.0] * 4})
    assert same(
        work("or", SET_LEFT, SET_RIGHT, how),
        SET_LEFT | {"r a=1": [None, None, 9.0, None], "r a=3": [8.0, None, 8.0, 8.0]},
    )


def test_sets_on_labels_match_many_to_many() -> None:
    how = matching(SETS, on=[])
    right: dict[str, Row] = {"r a=1": [None, 9.0, None, None], "r a=3": [None, None, 8.0, None]}
    assert same(work("and", SET_LEFT, right, how), {"l a=1": [None, 1.0, None, None], "l a=2": [None, 2.0, 2.0, None]})
    rest: dict[str, Row] = {"l a=1": [1.0, None, None, 1.0], "l a=2": [2.0, None, None, 2.0]}
    assert same(work("unless", SET_LEFT, right, how), rest)
    assert same(work("or", right, SET_LEFT, how), right | rest)


def test_sets_of_nothing() -> None:
    how = matching(SETS)
    nothing: dict[str, Row] = {"x": [None, None, None, None]}
    assert work("and", SET_LEFT, nothing, how) == work("and", nothing, SET_LEFT, how) == {}
    assert same(work("unless", SET_LEFT, nothing, how), SET_LEFT)
    assert same(work("or", SET_LEFT, nothing, how), SET_LEFT)
    assert same(work("or", nothing, SET_LEFT, how), SET_LEFT)


def test_or_joins_series_of_one_label_set() -> None:
    assert same(work("or", {"m a=1": [1.0, None]}, {"m a=1": [2.0, 3.0]}, matching(SETS)), {"m a=1": [1.0, 3.0]})


# -- against a loop over moments ---------------------------------------------------------------------------------------


def test_vectors_of_random_series_agree_with_matching_at_each_moment_alone() -> None:
    """All moments at once give what each gives by itself, errors included."""
    random = np.random.default_rng(11)
    hows = [matching(), matching(on=["a"]), matching(ignoring=["b"]), matching(LEFT, on=["a"], include=["b"])]
    hows += [matching(RIGHT, ignoring=["b"]), matching(SETS), matching(SETS, on=["a"])]
    answered = 0
    for _ in range(300):
        sides = []
        for name in ("l", "r"):
            sets = {f"{name} a={random.integers(3)} b={random.integers(2)}" for _ in range(random.integers(1, 4))}
            sides.append(
                {
                    each: [float(random.integers(3)) if random.random() < 0.5 else None for _ in range(4)]
                    for each in sorted(sets)
                }
            )
        how = hows[random.integers(len(hows))]
        operator = str(random.choice(["and", "or", "unless"] if how.cardinality is SETS else ["+", ">", "=="]))
        alone: list[dict[str, list[float | None]] | str] = []
        for moment in range(4):
            left, right = ({key: row[moment : moment + 1] for key, row in side.items()} for side in sides)
            try:
                alone.append(work(operator, left, right, how))
            except QueryEvaluationError as error:
                alone.append(str(error))
        errors = [each for each in alone if isinstance(each, str)]
        if errors:
            with pytest.raises(QueryEvaluationError) as raised:
                work(operator, sides[0], sides[1], how)
            assert str(raised.value) == errors[0]
            continue
        found = work(operator, sides[0], sides[1], how)
        for moment, each in enumerate(alone):
            assert isinstance(each, dict)
            at = {key: [row[moment]] for key, row in found.items() if row[moment] is not None}
            assert same(at, each)
        answered += bool(found)
    assert answered > 50
