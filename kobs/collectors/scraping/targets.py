"""What is scraped: a job and an address make a target, or are dropped by the job's rules.

Source: Prometheus 3, `scrape/target.go`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

import xxhash

from kobs.collectors.scraping.configuration import ScrapeConfig
from kobs.collectors.scraping.relabelling import Relabelling
from kobs.errors import ConfigError
from kobs.model.durations import format_duration, parse_duration_ms

ADDRESS, SCHEME, PATH = "__address__", "__scheme__", "__metrics_path__"
INTERVAL, TIMEOUT = "__scrape_interval__", "__scrape_timeout__"
PARAMETER, META, RESERVED = "__param_", "__meta_", "__"
INSTANCE, JOB = "instance", "job"

_PATH_SAFE = "/:@!$&'()*+,;=~-._"


@dataclass(frozen=True, slots=True)
class Target:
    """A place to ask. Two with the same labels and URL are the same target."""

    pool: str
    discovered: Mapping[str, str]
    """Labels before relabelling."""
    labels: Mapping[str, str]
    """Labels after relabelling, those of the scrape itself (`__address__` and so on) included."""
    url: str
    interval_ms: int
    timeout_ms: int
    identity: int = field(init=False)
    """64 bits of labels and URL."""

    def __post_init__(self) -> None:
        told = "\xff".join([self.url, *(part for pair in sorted(self.labels.items()) for part in pair)])
        object.__setattr__(self, "identity", xxhash.xxh64_intdigest(told.encode("utf-8", "surrogatepass")))

    @property
    def public_labels(self) -> dict[str, str]:
        """Labels that its samples get."""
        return {name: value for name, value in self.labels.items() if not name.startswith(RESERVED)}


def make_target(
    job: ScrapeConfig, relabelling: Relabelling, *, address: str, group: Mapping[str, str]
) -> Target | dict[str, str]:
    """Return the target of an address in a group; where the job's rules drop it, its labels before them.

    Raises: ConfigError where an address and labels are no target.
    """
    discovered = discovered_labels(job, address=address, group=group)
    labels = relabelling.apply(discovered)
    if labels is None:
        return discovered
    place = labels.get(ADDRESS, "")
    if not place:
        raise ConfigError("no address")
    if "/" in place:
        raise ConfigError(f"{place!r} is not a valid hostname")
    interval_ms = _duration(labels, INTERVAL, "scrape interval")
    timeout_ms = _duration(labels, TIMEOUT, "scrape timeout")
    if timeout_ms > interval_ms:
        raise ConfigError(
            f"scrape timeout cannot be greater than scrape interval ({labels[TIMEOUT]} > {labels[INTERVAL]})"
        )
    labels = {name: value for name, value in sorted(labels.items()) if not name.startswith(META)}
    labels.setdefault(INSTANCE, place)
    return Target(job.job_name, discovered, labels, _url(job, labels), interval_ms, timeout_ms)


def discovered_labels(job: ScrapeConfig, *, address: str, group: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of an address before any rule."""
    labels = {name: value for name, value in group.items() if value} | {ADDRESS: address}
    defaults = {
        JOB: job.job_name,
        INTERVAL: format_duration(job.scrape_interval),
        TIMEOUT: format_duration(job.scrape_timeout),
        PATH: job.metrics_path,
        SCHEME: job.scheme,
        **{PARAMETER + name: values[0] for name, values in job.params.items() if values},
    }
    return dict(sorted((defaults | labels).items()))


def _duration(labels: Mapping[str, str], name: str, what: str) -> int:
    try:
        milliseconds = parse_duration_ms(labels.get(name, ""))
    except ValueError as error:
        raise ConfigError(f"error parsing {what}: {error}") from None
    if milliseconds == 0:
        raise ConfigError(f"{what} cannot be 0")
    return milliseconds


def _url(job: ScrapeConfig, labels: Mapping[str, str]) -> str:
    parameters = {name: list(values) for name, values in job.params.items()}
    for label, value in labels.items():
        if label.startswith(PARAMETER):
            name = label.removeprefix(PARAMETER)
            parameters[name] = [value, *parameters.get(name, [])[1:]]
    query = "&".join(
        f"{quote_plus(name)}={quote_plus(value)}" for name in sorted(parameters) for value in parameters[name]
    )
    path = quote(labels.get(PATH, ""), safe=_PATH_SAFE)
    if path and not path.startswith("/"):
        path = f"/{path}"
    return f"{labels.get(SCHEME, '')}://{labels[ADDRESS]}{path}{'?' if query else ''}{query}"
