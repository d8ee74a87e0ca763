"""What the tests of faults ask of a server: every number exactly once and in its order, and `verify` agrees.

A line's number is read from its entry, container by container, through pages of the search. What a server is asked
while it is being killed may fail; it is asked again until a deadline.
"""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import httpx

_NUMBER = re.compile(r"number=(\d+)")
_PAGE = 5000
_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.2

T = TypeVar("T")


def get(url: str, path: str, **parameters: str | int) -> Any:
    """Return a server's answer in JSON."""
    answer = httpx.get(url + path, params=parameters, trust_env=False, timeout=60)
    assert answer.status_code == httpx.codes.OK, answer.text
    return answer.json()


def verify(url: str) -> Any:
    """Return what `kobs verify` is told."""
    return get(url, "/kobs/v1/verify")


def entries(url: str, **filters: str | int) -> Iterator[dict[str, Any]]:
    """Yield all entries in the order of time, page by page."""
    cursor: dict[str, str | int] = {}
    while True:
        page = get(url, "/kobs/v1/logs", direction="forward", limit=_PAGE, **filters, **cursor)
        yield from page["entries"]
        if page["cursor"] is None:
            return
        cursor = {"cursor": page["cursor"]}


def numbers_by_pod(url: str, **filters: str | int) -> dict[str, list[int]]:
    """Return the numbers of each Pod's lines in the order in which the search gives them; of the last hour unasked."""
    found: dict[str, list[int]] = defaultdict(list)
    for entry in entries(url, **filters):
        found[entry["labels"]["pod"]] += map(int, _NUMBER.findall(entry["line"]))
    return dict(found)


def until(ask: Callable[[], T], reached: Callable[[T], bool], *, seconds: float = _WAIT_SECONDS) -> T:
    """Ask until the answer is as wished and return it; after `seconds` return the last answer as it is."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = ask()
            if reached(answer) or time.monotonic() > deadline:
                return answer
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def assert_each_once(url: str, written: Mapping[str, int], *, seconds: float = _WAIT_SECONDS) -> None:
    """Wait until all is there, and check that each number of each Pod is there once and in order, and `verify` ok."""
    until(
        lambda: verify(url)["totals"],
        lambda totals: bool(totals["rows"]) and totals["pending_bytes"] == 0 and _is_there(url, written),
        seconds=seconds,
    )
    found = numbers_by_pod(url)
    problems = {
        pod: problem
        for pod, count in written.items()
        if (problem := _problem(found.get(pod, []), count)) and found.get(pod) != list(range(count))
    }
    report = verify(url)
    assert not problems, f"{problems}; verify: {report['totals']}"
    assert found.keys() == {pod for pod, count in written.items() if count}
    assert_whole(report)


def assert_whole(report: Any) -> None:
    """Check that a report of `verify` finds nothing, and nothing on its way."""
    faulty = [each for each in report["sources"] if each["losses"] or each["missing"] or each["pending_bytes"]]
    assert report["ok"], report["totals"]
    assert not faulty, faulty[:3]


def highest(url: str) -> dict[str, int]:
    """Return the highest number of each Pod."""
    return {pod: max(numbers) for pod, numbers in numbers_by_pod(url).items()}


def count_different(url: str) -> int:
    """Return how many different numbers there are, over all Pods."""
    return sum(len(set(numbers)) for numbers in numbers_by_pod(url).values())


def _is_there(url: str, written: Mapping[str, int]) -> bool:
    found = numbers_by_pod(url)
    return all(len(set(found.get(pod, []))) >= count for pod, count in written.items())


def _problem(found: list[int], count: int) -> str:
    missing = sorted(set(range(count)) - set(found))
    doubled = sorted(number for number, copies in Counter(found).items() if copies > 1)
    words = []
    if missing:
        words.append(f"{len(missing)} of {count} missing, from {missing[0]} to {missing[-1]}")
    if doubled:
        words.append(f"{len(doubled)} of {count} doubled, from {doubled[0]} to {doubled[-1]}")
    return ", ".join(words) or "out of order"
