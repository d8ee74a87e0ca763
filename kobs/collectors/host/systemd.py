"""Units of systemd, asked over D-Bus: their states, restarts, timers and sockets.

It is asked through the system bus, or where there is none through its own private socket, which takes root. What a unit
does not tell, as it has gone or is of an older systemd, is left out.

Source: `org.freedesktop.systemd1(5)`, the D-Bus specification; node_exporter 1.12 (names, labels, types, which units).
"""

import fcntl
import re
import socket
import termios
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from jeepney import DBusAddress, HeaderFields, Message, MessageType, Parser, new_method_call
from jeepney.auth import AuthenticationError
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import prep_socket

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import AbsentError, Roots

_BUS, _PRIVATE = "run/dbus/system_bus_socket", "run/systemd/private"
_NAME = "org.freedesktop.systemd1"
_MANAGER = "/org/freedesktop/systemd1"
_SECONDS = 2.0
"""How long to wait for an answer."""
_AT_ONCE = 64
"""Questions that are sent before their answers are read."""

_STATES = ("active", "activating", "deactivating", "inactive", "failed")
_NOT_SHOWN = re.compile(r".+\.(?:automount|device|mount|scope|slice)")
_VERSION = re.compile(r"\d{3,}(?:\.\d+)?")


class _Unit(NamedTuple):
    name: str
    state: str
    path: str


class _Property(NamedTuple):
    path: str
    interface: str
    name: str


def collect_systemd(roots: Roots) -> list[Point]:
    """Return the points of systemd and its units.

    Raises: AbsentError where no systemd runs; OSError, ValueError where it does not answer.
    """
    with closing(_connected(roots)) as connection:
        units = _units(connection)
        shown = [unit for unit, load in units if load == "loaded" and not _NOT_SHOWN.fullmatch(unit.name)]
        states = Counter(unit.state for unit, _ in units)
        points = [*_of_manager(connection), *_of_units(connection, shown)]
    counted = sorted({*_STATES, *states})
    return points + [Point("node_systemd_units", float(states[state]), labelled(state=state)) for state in counted]


def _of_manager(connection: "_Connection") -> Iterator[Point]:
    asked = [_Property(_MANAGER, "Manager", name) for name in ("Version", "Virtualization", "SystemState")]
    version, virtualization, state = _properties(connection, asked)
    number = _VERSION.search(version or "")
    yield Point("node_systemd_version", float(number[0]) if number else 0.0, labelled(version=version or ""))
    kind = "unknown" if virtualization is None else virtualization or "none"
    yield Point("node_systemd_virtualization_info", 1.0, labelled(virtualization_type=kind))
    if state is not None:
        yield Point("node_systemd_system_running", float(state == "running"))


_OF_SERVICE = (("Type", "", 1), ("NRestarts", "node_systemd_service_restart_total", 1))
_OF_TIMER = (("LastTriggerUSec", "node_systemd_timer_last_trigger_seconds", 1_000_000),)
_OF_SOCKET = (
    ("NAccepted", "node_systemd_socket_accepted_connections_total", 1),
    ("NConnections", "node_systemd_socket_current_connections", 1),
    ("NRefused", "node_systemd_socket_refused_connections_total", 1),
)
_OF_KIND = {"service": ("Service", _OF_SERVICE), "timer": ("Timer", _OF_TIMER), "socket": ("Socket", _OF_SOCKET)}
"""By the ending of a unit's name: its interface, and of each property the metric and what its unit is parted by."""


def _of_units(connection: "_Connection", units: Sequence[_Unit]) -> Iterator[Point]:
    asked = []
    for unit in units:
        interface, properties = _OF_KIND.get(unit.name.rpartition(".")[2], ("", ()))
        asked += [(unit, metric, parts, _Property(unit.path, interface, name)) for name, metric, parts in properties]
    types: dict[str, str] = {}
    values = _properties(connection, [each for _, _, _, each in asked])
    for (unit, metric, parts, _), value in zip(asked, values, strict=True):
        if value is None:
            continue
        if metric:
            yield Point(metric, value / parts, labelled(name=unit.name))
        else:
            types[unit.name] = value
    for unit in units:
        for state in _STATES:
            labels = labelled(name=unit.name, state=state, type=types.get(unit.name, ""))
            yield Point("node_systemd_unit_state", float(unit.state == state), labels)


# -- D-Bus -------------------------------------------------------------------------------------------------------------


class _Connection:
    """A connection to a bus or to systemd itself, which waits for no answer longer than `_SECONDS`."""

    def __init__(self, path: str) -> None:
        self._socket: socket.socket = prep_socket(path, timeout=_SECONDS)
        self._socket.settimeout(_SECONDS)
        self._wait_until_read()
        self._parser = Parser()
        self._serials = count(start=1)

    def _wait_until_read(self) -> None:
        """Wait until the end of the authentication was read.

        systemd leaves a question alone that it reads together with that, until more comes.
        """
        deadline = time.monotonic() + _SECONDS
        unread = array("i", [1])
        while unread[0] and time.monotonic() < deadline:
            fcntl.ioctl(self._socket, termios.TIOCOUTQ, unread)
            if unread[0]:
                time.sleep(0.0005)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def answers(self, questions: Sequence[Message]) -> list[Message]:
        """Return the answers to some questions, which are sent all at once.

        Raises: OSError.
        """
        serials = [next(self._serials) for _ in questions]
        self._socket.sendall(
            b"".join(each.serialise(serial=serial) for serial, each in zip(serials, questions, strict=True))
        )
        answers: dict[int, Message] = {}
        while len(answers) < len(questions):
            message = self._parser.get_next_message()
            if message is None:
                data = self._socket.recv(65_536)
                if not data:
                    raise ConnectionResetError("systemd has closed the connection")
                self._parser.add_data(data)
            elif (serial := message.header.fields.get(HeaderFields.reply_serial)) in serials:
                answers[serial] = message
        return [answers[serial] for serial in serials]


def _connected(roots: Roots) -> _Connection:
    """Return a connection to systemd.

    Raises: AbsentError where nobody listens; OSError, ValueError.
    """
    problem: OSError | AuthenticationError | None = None
    for place in (_BUS, _PRIVATE):
        path = f"{roots.root}/{place}"
        if not Path(path).exists():
            continue
        try:
            connection = _Connection(path)
        except (OSError, AuthenticationError) as error:
            problem = error
            continue
        if place == _BUS:
            connection.answers([message_bus.Hello()])
        return connection
    if isinstance(problem, OSError):
        raise problem
    if problem is not None:
        raise ValueError(f"systemd refuses the connection: {problem}") from problem
    raise AbsentError("no systemd")


def _units(connection: _Connection) -> list[tuple[_Unit, str]]:
    """Return all units and how each was loaded.

    Raises: OSError; ValueError for an answer that is an error.
    """
    address = DBusAddress(_MANAGER, _NAME, f"{_NAME}.Manager")
    (answer,) = connection.answers([new_method_call(address, "ListUnits")])
    if answer.header.message_type is not MessageType.method_return:
        raise ValueError(f"systemd does not list its units: {answer.body}")
    return [(_Unit(row[0], row[3], row[6]), row[2]) for row in answer.body[0]]


def _properties(connection: _Connection, asked: Sequence[_Property]) -> list[Any]:
    """Return the values of properties, None for one that is not there.

    Raises: OSError.
    """
    values: list[Any] = []
    for first in range(0, len(asked), _AT_ONCE):
        for answer in connection.answers([_question(each) for each in asked[first : first + _AT_ONCE]]):
            is_value = answer.header.message_type is MessageType.method_return
            values.append(answer.body[0][1] if is_value else None)
    return values


def _question(asked: _Property) -> Message:
    address = DBusAddress(asked.path, _NAME, "org.freedesktop.DBus.Properties")
    return new_method_call(address, "Get", "ss", (f"{_NAME}.{asked.interface}", asked.name))
