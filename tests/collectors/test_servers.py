"""Asking servers: what is an answer, what is none, which server is asked next and when, and what may have happened."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kobs.collectors.servers import ServerError, Servers
from kobs.config import load
from kobs.errors import ConfigError, RejectedError
from tests.collectors.scraping.places import Request, answering, free_address, serving

PATH = "/kobs/v1/ship/targets"


class Taken(msgspec.Struct):
    taken: int


TAKEN = answering(b'{"taken": 7}')


def ask(*urls: str, times: int = 1, final: frozenset[int] = frozenset(), **settings: Any) -> list[Taken | Exception]:
    """Ask some times and return answers and errors; each error names the server's problem."""

    async def run() -> list[Taken | Exception]:
        overrides = {"agent.servers": urls, **{f"agent.{name}": value for name, value in settings.items()}}
        servers = Servers(load(None, overrides=overrides).agent, answer_seconds=5)
        found: list[Taken | Exception] = []
        try:
            for _ in range(times):
                try:
                    found.append(await servers.ask(PATH, b"frame", Taken, final=final))
                except (ServerError, RejectedError) as error:
                    found.append(error)
                last = found[-1]
                assert servers.problem == (f"{last.server}: {last}" if isinstance(last, ServerError) else "")
        finally:
            await servers.close()
        return found

    return asyncio.run(run())


def failure(*urls: str, **settings: Any) -> ServerError:
    (found,) = ask(*urls, **settings)
    assert isinstance(found, ServerError)
    return found


def test_an_answer_is_decoded_and_the_token_is_read_anew(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")

    def rotate(request: Request) -> None:
        token.write_text("two\n")
        request.answer(b'{"taken": 7}')

    with serving({PATH: rotate}) as place:
        assert ask(place.url, times=2, token_file=token) == [Taken(7), Taken(7)]
        told = [(headers["Authorization"], headers["Content-Type"]) for _, headers in place.requests]
    assert told == [("Bearer one", "application/vnd.kobs.frame"), ("Bearer two", "application/vnd.kobs.frame")]


def test_without_the_token_of_its_file_no_server_is_asked(tmp_path: Path) -> None:
    with serving({PATH: TAKEN}) as place:
        error = failure(place.url, token_file=tmp_path / "none")
        assert place.requests == []
    assert str(error) == f"agent.token_file {tmp_path / 'none'}: No such file or directory"
    assert not error.may_have_acted


def _cut(request: Request) -> None:
    request.close_connection = True


@pytest.mark.parametrize(
    ("respond", "reason", "pause_seconds", "may_have_acted"),
    [
        (answering(b"busy", status=503, Retry_After="7"), "status 503: busy", 7.0, True),
        (answering(b"busy", status=429, Retry_After="soon"), "status 429: busy", 1.0, False),
        (answering(b"busy", status=503, Retry_After="86400"), "status 503: busy", 60.0, True),
        (answering(b"broken", status=500), "status 500: broken", 10.0, True),
        (answering(b"who?", status=401), "status 401: who\\?", 10.0, False),
        (answering(b"<html>"), "unreadable answer: ", 0.2, True),
        (answering(b'{"token": 7}'), "unreadable answer: ", 0.2, True),
        (_cut, "disconnected", 0.2, True),
    ],
    ids=["busy", "no seconds", "tomorrow", "broken", "refused", "html", "another answer", "cut"],
)
def test_what_is_no_answer_says_when_to_ask_again_and_what_may_have_happened(
    respond: Callable[[Request], None], reason: str, pause_seconds: float, *, may_have_acted: bool
) -> None:
    with serving({PATH: respond}) as place:
        error = failure(place.url)
    assert error.server == place.url
    assert (error.retry_after_seconds, error.may_have_acted) == (pause_seconds, may_have_acted)
    with pytest.raises(ServerError, match=reason):
        raise error


def test_nobody_there_has_not_acted() -> None:
    error = failure(f"http://{free_address()}")
    assert (error.retry_after_seconds, error.may_have_acted) == (0.2, False)


def test_a_server_that_fails_twice_is_left_for_the_next_and_pauses_grow() -> None:
    with serving({PATH: answering(b"<html>")}) as bad, serving({PATH: TAKEN}) as good:
        found = ask(bad.url, good.url, times=4)
        assert len(bad.requests) == 2
    assert found[2:] == [Taken(7), Taken(7)]
    assert [each.retry_after_seconds for each in found[:2] if isinstance(each, ServerError)] == [0.2, 0.4]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error": {"type": "wrong_checksum", "message": "x"}}', "wrong_checksum"),
        (b'{"error": {"type": "something else"}}', "refused"),
        (b"<html>", "refused"),
    ],
    ids=["known", "unknown", "html"],
)
def test_a_frame_that_is_refused_for_good_is_told_by_a_known_reason(body: bytes, reason: str) -> None:
    with serving({PATH: answering(body, status=400)}) as place:
        (found,) = ask(place.url, final=frozenset({400}))
    assert isinstance(found, RejectedError)
    assert found.reason == reason


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "no certificate"])
def test_certificates_that_cannot_be_read_are_an_error_of_the_setting(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_text(content)
    settings: Mapping[str, Any] = {"agent.ca_file": file}
    with pytest.raises(ConfigError, match=f"agent.ca_file {file}: "):
        Servers(load(None, overrides=settings).agent, answer_seconds=1)
