"""A series' id tells its label set from every other, and puts the series of a namespace beside each other."""

import pytest

from kobs.model.labels import canonical, series_id


def first_bits(labels: dict[str, str]) -> int:
    return series_id(canonical(labels)) >> 56


def test_series_of_a_namespace_have_the_same_first_bits() -> None:
    shop = {
        first_bits({"__name__": name, "namespace": "shop", "pod": pod, "zone": "b", "a": "x"})
        for name in ("up", "cpu")
        for pod in ("web-1", "web-2")
    }
    others = {first_bits({"namespace": f"team-{number}"}) for number in range(100)}
    assert len(shop) == 1
    assert len(others) > 70


@pytest.mark.parametrize(
    ("labels", "same"),
    [
        ({"instance": "n1:9100", "cpu": "0"}, {"instance": "n1:9100", "cpu": "1"}),
        ({"namespace": "shop", "instance": "a"}, {"namespace": "shop", "instance": "b"}),
        ({"namespace": "shop"}, {"a": "namespace", "namespace": "shop", "zone": "namespace"}),
        ({"a": "b"}, {"c": "namespace"}),
        ({"instance": "n1"}, {"instance": "n1", "label": "namespace", "name": "instance"}),
    ],
    ids=["instance", "namespace-first", "value-that-reads-as-name", "neither", "values"],
)
def test_the_namespace_counts_then_the_instance(labels: dict[str, str], same: dict[str, str]) -> None:
    assert first_bits(labels) == first_bits(same)
    assert series_id(canonical(labels)) != series_id(canonical(same))


def test_ids_differ_in_the_other_bits() -> None:
    ids = {
        series_id(canonical({"__name__": "up", "namespace": "shop", "pod": str(number)})) for number in range(10_000)
    }
    assert len(ids) == 10_000
    assert all(0 <= each < 2**64 for each in ids)
