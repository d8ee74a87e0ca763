"""Every setting of kobs: one YAML file, `KOBS_` environment variables, command-line flags.

What arrives are three layers, each stronger than the one before: the file, the environment (`__` between levels:
`KOBS_SERVER__LISTEN` is `server.listen`), the flags. What leaves is one frozen `Settings` that knows where each value
came from. A stage of kobs receives its own section only. Nothing is guessed: a key or variable that kobs does not know
is an error, as is a value out of range, and all errors of one start are told together.

This is the only module that reads the process's environment.
"""

import difflib
import functools
import ipaddress
import os
import re
import reprlib
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import re2
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from kobs.errors import ConfigError
from kobs.model.durations import parse_duration_ms

KEEP_DAYS = (1, 3, 7, 14, 30, 90, 180, 365, 730)
"""The retention classes: part of the partition key of the logs, so that expiry is a file delete."""

MASK = "***"
"""What is shown in place of a secret."""

_KIB, _MIB, _GIB = 1024, 1024**2, 1024**3
_SIZE_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE_UNITS |= {"KiB": _KIB, "MiB": _MIB, "GiB": _GIB, "TiB": 1024**4}
_SIZE = re.compile(r"(\d+) ?([A-Za-z]*)")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?")
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^:/@]*):.*@|(?<=[?&])(password=)[^&]*", re.DOTALL)

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100

_PREFIX = "KOBS_"
_CONFIG_VARIABLE = "KOBS_CONFIG"
_NOT_SETTINGS = frozenset({_CONFIG_VARIABLE, "KOBS_PEERS", "KOBS_RECORDED", "KOBS_CLUSTER"})
"""`KOBS_CONFIG` names the file; the others steer the project's own tests, so `cluster` has no variable."""

_SERVICE_LINK = re.compile(
    r"KOBS_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)"
)
"""Kubernetes puts such variables into every Pod beside a Service named `kobs` or `kobs-server`."""


def environment() -> Mapping[str, str]:
    """Return the process's environment, for the few names that are not settings of kobs, such as `NO_COLOR`."""
    return os.environ


# -- types of values ---------------------------------------------------------------------------------------------------


def _size(value: object) -> object:
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if found is None or found[2] not in _SIZE_UNITS:
            raise ValueError("expected bytes as an integer or a size such as 64MiB or 500kB")
        return int(found[1]) * _SIZE_UNITS[found[2]]
    return _not_bool(value)


def _duration(unit_ms: int) -> Callable[[object], object]:
    def parse(value: object) -> object:
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) is None:
            try:
                milliseconds = parse_duration_ms(value.strip())
            except ValueError as error:
                unit = "milliseconds" if unit_ms == 1 else "seconds"
                raise ValueError(f"expected {unit} as a number or a duration such as 15s or 1h30m") from error
            return milliseconds / unit_ms if milliseconds % unit_ms else milliseconds // unit_ms
        return _not_bool(value)

    return parse


def _not_bool(value: object) -> object:
    """Refuse `threads: yes`, which would count as 1."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def _items(value: object) -> object:
    """Accept `a,b` and `["a", "b"]` where a list is expected, for the environment and the command line."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith(("[", "-")):
        return [part.strip() for part in value.split(",") if part.strip()]
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError('expected a list such as ["a", "b"] or a,b') from error


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _re2(pattern: str) -> str:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"expected a regular expression in RE2's syntax ({text})") from error
    return pattern


def _keep_days(days: int) -> int:
    if days not in KEEP_DAYS:
        raise ValueError(f"expected one of {', '.join(map(str, KEEP_DAYS))}")
    return days


def _token(token: SecretStr) -> SecretStr:
    if not all("!" <= character <= "~" for character in token.get_secret_value()):
        raise ValueError("expected printable ASCII characters without spaces, as a header can carry them")
    return token


def _server_url(url: str) -> str:
    if re.fullmatch(r"https?://[^/?#\s]+[^?#\s]*", url) is None:
        raise ValueError("expected a URL such as http://127.0.0.1:9700")
    return url.rstrip("/")


def _storage_url(url: str) -> str:
    if url and re.fullmatch(r"(?:chdb:///|https?://[^/\s]).*", url) is None:
        raise ValueError("expected chdb:///path, http(s)://host:8123/database, or nothing")
    return url


def _listen(address: str) -> str:
    _host_and_port(address)
    return address


def _optional_listen(address: str) -> str:
    return _listen(address) if address else address


def _host_and_port(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\s\[\]/]*)):(\d{1,5})", address)
    if found is None or int(found[3]) > 65535:
        raise ValueError("expected HOST:PORT such as 127.0.0.1:9700 or [::1]:9700")
    return found[1] or found[2] or "0.0.0.0", int(found[3])  # noqa: S104 - ":9700" says so; check_listen guards it


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Count = Annotated[int, BeforeValidator(_not_bool), Field(ge=1)]
Bytes = Annotated[int, BeforeValidator(_size), Field(ge=1)]
Seconds = Annotated[float, BeforeValidator(_duration(1000)), Field(gt=0, allow_inf_nan=False)]
Milliseconds = Annotated[int, BeforeValidator(_duration(1)), Field(ge=0)]
KeepDays = Annotated[int, BeforeValidator(_not_bool), AfterValidator(_keep_days)]
Pattern = Annotated[str, AfterValidator(_re2)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_items)]
Urls = Annotated[tuple[Annotated[str, AfterValidator(_server_url)], ...], BeforeValidator(_items), Field(min_length=1)]
Folder = Annotated[Path, AfterValidator(Path.expanduser)]
OptionalPath = Annotated[Folder | None, BeforeValidator(_none_if_empty)]
OptionalToken = Annotated[Annotated[SecretStr, AfterValidator(_token)] | None, BeforeValidator(_none_if_empty)]


# -- sections ----------------------------------------------------------------------------------------------------------


class Section(BaseModel):
    """A frozen group of settings; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=False)


class Keep(Section):
    """How long the logs of some namespaces are kept."""

    namespace: Pattern
    """RE2 pattern that must match the whole name of the namespace."""

    days: KeepDays
    """Days, one of the retention classes."""


class StorageSettings(Section):
    """The store: ClickHouse, embedded or by HTTP."""

    url: Annotated[str, AfterValidator(_storage_url)] = ""
    """Where the store is: `chdb:///path` for the embedded engine, `http(s)://host:8123/database` for a server. Empty:
    the embedded engine in the data folder, which needs no server."""

    database: str = Field(default="kobs", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")
    """Name of the database that holds all tables of kobs; one word that is easy to find beside others."""

    threads: Count = 8
    """Threads that call the engine: it answers one call a thread, and eight keep inserts from waiting for searches."""

    max_memory_bytes: Bytes = _GIB
    """Memory of the embedded engine, in bytes: enough for searches over millions of lines on a small machine. A server
    by HTTP has limits of its own."""

    query_timeout_seconds: Seconds = 30
    """Seconds after which the engine gives up a statement: longer than any search that a person waits for."""

    keep_days: KeepDays = 30
    """Days that data is kept, one of 1, 3, 7, 14, 30, 90, 180, 365, 730: a month covers most questions about the past.
    It counts for data that comes after the change."""

    keep: Annotated[tuple[Keep, ...], BeforeValidator(_items)] = ()
    """Other retention for some namespaces: a list of `namespace` (RE2 pattern, whole name) and `days`; the first match
    wins. Empty: `keep_days` for all."""

    metrics_keep_days: Annotated[int, BeforeValidator(_not_bool), Field(ge=0, le=36_500)] = 15
    """Days that samples are kept: enough for the dashboards and alerts of two weeks at little disk. It counts for all
    samples, those that are there too. 0: for ever."""


class ServerSettings(Section):
    """The server: ingest and API."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9700"
    """Address to listen on, HOST:PORT: loopback, so that nothing is open before a token is set. Port 0 takes a free
    one."""

    token: OptionalToken = None
    """Bearer token that every request must carry; required for an address that is not loopback. None: no
    authentication, right only for one's own machine."""

    allowed_hosts: Strings = ()
    """Further names that a request's Host header may carry, beside the address itself and the loopback names: a check
    against DNS rebinding. Needed behind a proxy or a Service."""

    max_body_bytes: Bytes = 16 * _MIB
    """Bytes of one request's body, compressed and uncompressed alike: eight times what an agent sends, and small enough
    for many at once in memory."""

    request_timeout_seconds: Seconds = 30
    """Seconds from the start of an ingest request to its last insert; past it nothing is inserted any more and the
    sender tries again."""

    max_line_bytes: Bytes = _MIB
    """Bytes of one log line; longer ones are cut and recorded as cut. 1 MiB holds the largest stack traces."""

    insert_delay_ms: Milliseconds = 50
    """Milliseconds that rows wait for others before an insert: many agents share one insert, and nobody notices the
    delay."""

    insert_rows: Count = 50_000
    """Rows that make an insert at once, without waiting: large enough for few parts, small enough for memory."""

    sample_delay_ms: Milliseconds = 2000
    """Milliseconds that samples wait for others before an insert, and their senders with them. Samples come every 15 s,
    and an insert costs the same whether it has a hundred or ten thousand."""

    own_metrics_seconds: Annotated[float, BeforeValidator(_duration(1000)), Field(ge=0, allow_inf_nan=False)] = 15
    """Seconds between two samples of the server's own metrics, which it stores as the job `kobs`: as dashboards expect
    of every target. 0: never."""

    search_max_rows: Count = 5000
    """Rows of one page of a log search, at most: what a screen can show and a browser can hold."""

    search_timeout_seconds: Seconds = 30
    """Seconds that one search may take: past it the person is told to narrow it."""

    def address(self) -> tuple[str, int]:
        """Return host and port of `listen`."""
        return _host_and_port(self.listen)

    def is_loopback(self) -> bool:
        """Tell whether only this machine can reach `listen`."""
        return _is_loopback(self.address()[0])


class QuerySettings(Section):
    """What one query of metrics may take. No limit cuts an answer: what exceeds one is an error that names it."""

    timeout_seconds: Seconds = 120
    """Seconds that a query may take, its waiting included, where its request says no less: as in Prometheus."""

    max_series: Count = 200_000
    """Series of one selector: more than dashboards and rules of large clusters select."""

    max_samples: Count = 300_000_000
    """Samples that a query reads: 50,000 series over two days, about a minute's work."""

    max_points: Count = 20_000_000
    """Points (series times steps) that a selector or a step of the evaluation has in memory, at 9 bytes each."""

    max_memory_bytes: Bytes = 256 * _MIB
    """Bytes of samples that a query has in memory at a time, and of one statement of it. Larger selections are read in
    slices that fit, so that this limits one series' samples only."""

    remembered_bytes: Annotated[int, BeforeValidator(_size), Field(ge=0)] = 256 * _MIB
    """Bytes of samples that stay in memory after a query, for a panel that is refreshed and others on the same series:
    those of a few dashboards. 0: none."""

    heavy_samples: Count = 5_000_000
    """Samples from which on a query is heavy and waits for its turn: those of a second's work."""

    heavy_queries: Count = 2
    """Heavy queries that run at a time: two leave the engine's other threads to all that is light."""

    heavy_waiting: Count = 100
    """Heavy queries that may wait for their turn; more are told to come back later."""


class Multiline(Section):
    """Where a record of several lines starts, for the files that all given patterns match."""

    namespace: Pattern | None = None
    """RE2 pattern that must match the whole namespace."""

    pod: Pattern | None = None
    """RE2 pattern that must match the Pod's whole name."""

    container: Pattern | None = None
    """RE2 pattern that must match the container's whole name."""

    path: Pattern | None = None
    """RE2 pattern that must match the file's whole path."""

    start: Pattern
    """RE2 pattern, found anywhere in a line, that makes it the first of a record."""


class AgentSettings(Section):
    """The agent: what it reads on its node, and how it delivers."""

    servers: Urls = ("http://127.0.0.1:9700",)
    """URLs of servers. The agent stays with one and moves on when it fails. The default is `kobs up` beside it."""

    token: OptionalToken = None
    """Bearer token for the servers, as their `server.token`."""

    token_file: OptionalPath = None
    """File that holds the token instead, read again when it changes: for mounted Secrets that rotate."""

    ca_file: OptionalPath = None
    """File with the certificates (PEM) that sign the servers' own; None: the system's."""

    state: OptionalPath = None
    """Folder for the agent's journal of sent batches and positions; None: a folder beside the data of `kobs up`,
    `up.data`/agent. It must outlive restarts."""

    pod_logs: OptionalPath = Path("/var/log/pods")
    """Folder of container logs, where the kubelet puts them; None: read none."""

    files: Strings = ("/var/log/*.log", "/var/log/*/*.log", "/var/log/syslog", "/var/log/messages")
    """Globs of plain log files: where Linux distributions and their packages write."""

    exclude: Strings = ()
    """Globs of files not to read, container logs included. Empty: nothing that kobs could read is left out unasked."""

    journal: OptionalPath = Path("/var/log/journal")
    """Folder of the systemd journal; where it is missing, /run/log/journal is read; None: neither."""

    max_line_bytes: Bytes = _MIB
    """Bytes of one log line; longer ones are cut and recorded as cut. As the server's `max_line_bytes`."""

    request_bytes: Bytes = 4 * _MIB
    """Log bytes, uncompressed, in one request: large enough to spread the cost of a durable write, small enough to send
    again."""

    stream_bytes: Bytes = 256 * _KIB
    """Bytes that one file may give in a round of reading, so that a noisy container does not starve a quiet one."""

    hold_ms: Milliseconds = 500
    """Milliseconds that an unfinished record of several lines waits for its next line: programs write a stack trace at
    once, and half a second is not felt in a tail."""

    held_bytes: Bytes = _GIB
    """Unread bytes of rotated and deleted files that are held open while no server answers; beyond it the oldest go,
    recorded as `rotated_away`. Disk space that the node cannot have back meanwhile."""

    poll_ms: Annotated[Milliseconds, Field(ge=10)] = 100
    """Milliseconds between two looks at open files where the kernel does not tell of changes: quick for a tail, and
    almost free."""

    discovery_ms: Annotated[Milliseconds, Field(ge=10)] = 1000
    """Milliseconds between two looks for new files where the kernel does not tell: new files are found within a
    second."""

    multiline: Annotated[tuple[Multiline, ...], BeforeValidator(_items)] = ()
    """Where records of several lines start: a list of `namespace`, `pod`, `container`, `path` (RE2 patterns of which
    all given must match; the first rule that does wins) and `start` (RE2 pattern of a first line). Empty: known stack
    traces and indented lines are joined without it."""

    spool_bytes: Bytes = 512 * _MIB
    """Bytes on disk of samples that wait while no server takes any; beyond it the oldest are dropped, recorded as
    `spool_full`. The samples of a node with 10,000 series at four a minute for about a day."""

    host_metrics_seconds: Seconds = 15
    """Seconds between two samples of CPU, memory, disks and network: four a minute, as dashboards expect."""

    scrape_config: OptionalPath = None
    """File with what to scrape, in the form of Prometheus' own configuration (`global` and `scrape_configs`), read
    again when it changes. None: no targets but the machine and the agent itself."""

    scrape_body_bytes: Bytes = 256 * _MIB
    """Bytes of one target's answer, uncompressed, where its job sets no `body_size_limit`: more than the largest
    clusters' state shows, and an end to what has none."""

    scrape_samples: Count = 500_000
    """Samples that one target may show, where its job sets no `sample_limit`: what fits into the memory of a node's
    agent. Above it the scrape fails, as with a `sample_limit`."""

    strict_openmetrics: bool = False
    """Whether an answer in OpenMetrics that breaks a rule of the specification fails the scrape, also where a
    Prometheus takes it. False: programs in wide use break some."""

    own_metrics_seconds: Annotated[float, BeforeValidator(_duration(1000)), Field(ge=0, allow_inf_nan=False)] = 15
    """Seconds between two samples of the agent's own metrics: as of everything else. 0: none."""

    listen: Annotated[str, AfterValidator(_optional_listen)] = "127.0.0.1:9701"
    """Address on which the agent answers for its own `/metrics`, HOST:PORT: loopback, beside the server's. Port 0 takes
    a free one; empty: none. One that is in use is told as a problem, and the agent goes on without."""

    listen_token: OptionalToken = None
    """Bearer token that a request to `agent.listen` must carry; required for an address that is not loopback."""

    proc: Folder = Path("/proc")
    """Where the host's /proc is mounted; another path in a container."""

    sys: Folder = Path("/sys")
    """Where the host's /sys is mounted; another path in a container."""

    rootfs: OptionalPath = None
    """Where the host's / is mounted, for file systems and os-release; None: seen through the host's first process,
    `agent.proc`/1/root, where `agent.proc` is not /proc, and / itself else."""

    udev: OptionalPath = Path("/run/udev/data")
    """Folder of udev's data about disks, another one in a container; None: models and serial numbers are not shown."""

    systemd: bool = False
    """Whether metrics of systemd's units are sampled too, over its D-Bus socket below the host's /run: one question for
    each service, timer and socket, so that it is off by default, as in node_exporter."""

    textfiles: Strings = ()
    """Folders, or globs of folders, whose files `*.prom` hold further metrics of this machine, in Prometheus' text
    format. Empty: none are read."""

    def address(self) -> tuple[str, int] | None:
        """Return host and port of `listen`; None where it is empty."""
        return _host_and_port(self.listen) if self.listen else None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.listen and self.listen_token is None and not _is_loopback(_host_and_port(self.listen)[0]):
            raise ValueError(
                f"agent.listen {self.listen} is open to other machines; expected agent.listen_token to be set, or a"
                " loopback address such as 127.0.0.1:9701"
            )
        if self.token is not None and self.token_file is not None:
            raise ValueError("expected one of agent.token and agent.token_file, not both")
        if self.request_bytes < self.max_line_bytes:
            raise ValueError(
                f"expected agent.request_bytes ({self.request_bytes}) to hold at least one line of"
                f" agent.max_line_bytes ({self.max_line_bytes})"
            )
        return self


def _data_folder() -> Path:
    base = environment().get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path("~/.local/share").expanduser()) / "kobs"


class UpSettings(Section):
    """`kobs up`: all of it on one machine."""

    data: Folder = Field(default_factory=_data_folder)
    """Folder of the embedded store and the agent's state: $XDG_DATA_HOME/kobs, or ~/.local/share/kobs, under root too,
    so that trying it needs no rights and no cleaning up elsewhere."""

    collect: bool = True
    """Whether this machine and kobs itself are observed: what a first look should show. False: only the server side,
    whose store holds what others send and nothing else."""


class LogSettings(Section):
    """What kobs says about itself on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written: what an operator acts on or is glad to know."""

    format: Literal["text", "json"] = "text"
    """`text` for people, `json` for one object a line, as log stores like it."""


class Settings(BaseSettings):
    """All settings, frozen, and where each came from. `Settings()` holds the defaults; `load` reads the layers."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
    )

    cluster: str = ""
    """Name of the Kubernetes cluster, a label of all that is observed. Empty: no such label, right for one cluster."""

    node: str = Field(default_factory=socket.gethostname, min_length=1)
    """Name of this node, a label of what is observed on it: the host's name, which Kubernetes uses too by default."""

    storage: StorageSettings = StorageSettings()
    server: ServerSettings = ServerSettings()
    query: QuerySettings = QuerySettings()
    agent: AgentSettings = AgentSettings()
    up: UpSettings = Field(default_factory=UpSettings)
    log: LogSettings = LogSettings()

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _file: Path | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes it
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - `load` reads the environment and notes the origin
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - kobs reads no .env files
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - secrets come by file or environment
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load` merged, and nothing else."""
        return (init_settings,)

    def origin(self, key: str) -> str:
        """Return where `server.listen` or another dotted key got its value.

        It is `default`, `file /etc/kobs.yaml`, `environment KOBS_SERVER__LISTEN` or `command line`.

        Raises: KeyError for a key that is no setting.
        """
        if key not in _settings_by_key():
            raise KeyError(key)
        return self._origins.get(key, "default")

    def value(self, key: str) -> object:
        """Return the value of a dotted key as it may be shown: secrets are `***`, models are dicts, tuples are lists.

        Raises: KeyError for a key that is no setting.
        """
        if key not in _settings_by_key():
            raise KeyError(key)
        return showable(functools.reduce(getattr, key.split("."), self))

    @property
    def file(self) -> Path | None:
        """The file that was read, for processes that are started with the same settings."""
        return self._file

    def check_listen(self) -> None:
        """Refuse an address that others can reach while no token is set.

        Raises: ConfigError.
        """
        if not self.server.is_loopback() and self.server.token is None:
            raise ConfigError(
                f"server.listen ({self.origin('server.listen')}): {self.server.listen} is open to other machines;"
                " expected server.token (KOBS_SERVER__TOKEN) to be set, or a loopback address such as 127.0.0.1:9700"
            )


class Setting(NamedTuple):
    """What is known of one setting before any is loaded: for documentation and `kobs config`."""

    key: str
    variable: str | None
    """The environment variable; None where there is none."""
    unit: str
    default: object
    default_in_words: str
    """What the default is where it depends on the machine, else empty."""
    description: str
    is_secret: bool


def sections() -> dict[str, str]:
    """Return what each section is about, by its name; the empty name is the top level."""
    found = {"": "What is observed."}
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found[name] = (field.annotation.__doc__ or "").strip()
    return found


def describe() -> tuple[Setting, ...]:
    """Return every setting in the order of this file."""
    return tuple(_settings_by_key().values())


@functools.cache
def _settings_by_key() -> dict[str, Setting]:
    return {setting.key: setting for setting in _walk(Settings, "")}


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        key = prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _walk(field.annotation, f"{key}.")
            continue
        variable = _PREFIX + key.upper().replace(".", "__")
        yield Setting(
            key=key,
            variable=None if variable in _NOT_SETTINGS else variable,
            unit=next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), ""),
            default=None if field.default_factory is not None else showable(field.get_default()),
            default_in_words=_DEFAULTS_IN_WORDS.get(key, ""),
            description=" ".join((field.description or "").split()),
            is_secret="SecretStr" in str(field.annotation),
        )


_UNITS = {"_bytes": "bytes", "_seconds": "seconds", "_ms": "milliseconds", "_days": "days", "_rows": "rows"}
_DEFAULTS_IN_WORDS = {"node": "the host's name", "up.data": "$XDG_DATA_HOME/kobs or ~/.local/share/kobs"}


def showable(value: object) -> object:
    """Return a setting's value as plain data that may be shown: no secret, no password of a URL."""
    shown: object = value
    match value:
        case SecretStr():
            shown = MASK
        case str():
            shown = _PASSWORD_IN_URL.sub(
                lambda found: f"{found[2]}{MASK}" if found[2] else f"{found[1]}:{MASK}@", value
            )
        case Path():
            shown = str(value)
        case Section():
            given = (name for name in type(value).model_fields if name in value.model_fields_set)
            shown = {name: showable(getattr(value, name)) for name in given}
        case tuple() | list():
            shown = [showable(item) for item in value]
        case dict():
            shown = {name: showable(item) for name, item in value.items()}
    return shown


# -- loading -----------------------------------------------------------------------------------------------------------


def load(path: Path | None, *, overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the file (`path`, else the one that KOBS_CONFIG names), the environment and the flags, and check them all.

    `overrides` holds the flags by dotted key; None and the empty tuple mean "not given", as click has it.

    Raises: ConfigError that names every wrong key or variable, what was expected and what came.
    """
    if path is None and environment().get(_CONFIG_VARIABLE):
        path = Path(environment()[_CONFIG_VARIABLE])
    errors: list[str] = []
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None:
        _merge(merged, _read_file(path), origin=f"file {path}", origins=origins)
    _merge(merged, _read_environment(errors), origin="environment", origins=origins)
    for key, value in (overrides or {}).items():
        if value is not None and value != ():
            section, _, name = key.rpartition(".")
            _merge(
                merged, {section: {name: value}} if section else {name: value}, origin="command line", origins=origins
            )
    for name in sorted(merged.keys() - Settings.model_fields.keys()):
        # told here, since pydantic-settings takes some names, such as _env_file, as arguments of its own
        errors.append(f"{name} ({origins[name]}): unknown setting{_near(name, list(_keys_around((name,))))}")
        del merged[name]
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        errors += [_tell(found, origins) for found in error.errors(include_url=False)]
    if errors:
        heading = "" if len(errors) == 1 else f"{len(errors)} settings are wrong:\n  "
        raise ConfigError(heading + "\n  ".join(errors))
    settings._origins.update(origins)  # noqa: SLF001 - this function is how a Settings learns its origins
    settings._file = path  # noqa: SLF001 - likewise
    return settings


def _merge(into: dict[str, Any], layer: Mapping[str, Any], *, origin: str, origins: dict[str, str]) -> None:
    """Lay `layer` over `into`: sections by key, everything else whole."""
    for name, value in layer.items():
        field = Settings.model_fields.get(name)
        is_section = field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        if is_section and value is None:
            continue
        if is_section and isinstance(value, Mapping):
            section = into.setdefault(name, {})
            if not isinstance(section, dict):
                continue  # the layer below has something else in its place, which is told as an error
            section |= {str(inner): inner_value for inner, inner_value in value.items()}
            keys = [f"{name}.{inner}" for inner in value]
        else:
            into[name] = value
            keys = [name]
        for key in keys:
            is_variable = origin == "environment"
            origins[key] = f"environment {_PREFIX}{key.upper().replace('.', '__')}" if is_variable else origin


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()
        twice = _key_twice(yaml.compose(text, Loader=yaml.SafeLoader))
        content = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"file {path}: cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        # the error's own text quotes the file, which may hold secrets
        place = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ConfigError(f"file {path}{place}: expected YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"file {path}: expected YAML in UTF-8") from None
    if twice is not None:
        raise ConfigError(f"file {path}, {twice}")
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"file {path}: expected sections such as server and agent, got {_kind(content)}")
    return {str(name): value for name, value in content.items()}


def _key_twice(node: object) -> str | None:
    """Tell of a key that appears twice in one mapping, of which YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                return f"line {key.start_mark.line + 1}: the key {name} appears twice"
            seen.add(name)
            if (found := _key_twice(value)) is not None:
                return found
    if isinstance(node, yaml.SequenceNode):
        return next((found for item in node.value if (found := _key_twice(item)) is not None), None)
    return None


def _read_environment(errors: list[str]) -> dict[str, Any]:
    known = {setting.variable for setting in describe() if setting.variable is not None}
    variables: dict[str, str | None] = {}
    for name, value in sorted(environment().items()):
        if not name.startswith(_PREFIX) or name in _NOT_SETTINGS:
            continue
        if name in known:
            variables[name.lower()] = value
        elif _SERVICE_LINK.fullmatch(name) is None:
            errors.append(f"environment {name}: unknown setting{_near(name, sorted(known))}")
    source = EnvSettingsSource(Settings)
    source.env_vars = variables
    return source()


_EXPECTED = {
    "missing": "a value",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "path_type": "a path",
    "tuple_type": "a list",
    "model_type": "a mapping of settings",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "too_short": "a list of at least {min_length}",
    "string_too_short": "text of at least {min_length} character",
    "string_pattern_mismatch": "text that matches {pattern}",
    "literal_error": "{expected}",
}
"""What was expected, by pydantic's type of error; others are told in pydantic's own words."""


def _tell(error: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """Say in one line what is wrong with one key."""
    place = error["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    named = ".".join(str(part) for part in place[:2])
    if named not in _settings_by_key() and place[0] in _settings_by_key():
        named = str(place[0])
    origin = origins.get(named) or origins.get(str(place[0]))
    subject = key if origin is None else f"{key} ({origin})"
    if error["type"] == "extra_forbidden":
        return f"{subject}: unknown setting{_near(key, list(_keys_around(place)))}"
    if error["type"] == "value_error":
        expected = str(error["ctx"]["error"])
    elif error["type"] in _EXPECTED:
        expected = "expected " + _EXPECTED[error["type"]].format(**error.get("ctx", {}))
    else:
        expected = error["msg"]
    setting = _settings_by_key().get(named)
    if error["type"] == "missing" or (setting is None and error["type"] == "value_error"):
        return f"{subject}: {expected}"
    if setting is None or setting.is_secret:
        return f"{subject}: {expected}, got {_kind(error['input'])}" + (" (not shown)" if setting is not None else "")
    return f"{subject}: {expected}, got {_SHORT.repr(showable(error['input']))}"


def _keys_around(place: tuple[str | int, ...]) -> Iterator[str]:
    """Yield the keys that may have been meant: every setting, every section, and those of a list's items."""
    yield from _settings_by_key()
    yield from (name for name in Settings.model_fields if name not in _settings_by_key())
    if len(place) == 4:
        items: type[Section] = Keep if place[1] == "keep" else Multiline
        yield from (f"{place[0]}.{place[1]}[{place[2]}].{name}" for name in items.model_fields)


def _near(name: str, known: list[str]) -> str:
    same_leaf = [key for key in known if key.rpartition(".")[2] == name.rpartition(".")[2]]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75) or same_leaf
    return f"; did you mean {near[0]}?" if near else "; `kobs config` lists all settings"


def _kind(value: object) -> str:
    names = {type(None): "nothing", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    names |= {list: "a list", tuple: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)
