"""The parts of a scrape configuration, in the form of Prometheus' own file: `global` and the jobs.

Plain content arrives, frozen models leave; a job is complete once `global` has filled in what it leaves out. What
Prometheus has and no field is here for is refused by name (`configuration_file`).

Source: Prometheus 3, `config`.
"""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from kobs.collectors.scraping.client_configuration import Client, Part
from kobs.collectors.scraping.relabelling import Relabelling, Rule, is_label_name
from kobs.errors import ConfigError
from kobs.model.durations import parse_duration_ms

DEFAULT_INTERVAL_MS = 60_000
DEFAULT_TIMEOUT_MS = 10_000

MEDIA_TYPES = {
    "PrometheusProto": "application/vnd.google.protobuf",
    "PrometheusText0.0.4": "text/plain",
    "PrometheusText1.0.0": "text/plain",
    "OpenMetricsText0.0.1": "application/openmetrics-text",
    "OpenMetricsText1.0.0": "application/openmetrics-text",
}
DEFAULT_PROTOCOLS = ("OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4")

_SIZE = re.compile(r"(\d+)(B|KB|MB|GB|TB|PB|KiB|MiB|GiB|TiB|PiB)?")
_SIZE_STEPS = ("B", "K", "M", "G", "T", "P")
_FILE_PATTERN = re.compile(r"[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)")


def _duration_ms(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value == "0":
        return 0
    try:
        return parse_duration_ms(value)
    except ValueError:
        raise ValueError("expected a duration such as 15s or 1m30s") from None


def _size_bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value)
    if found is None:
        raise ValueError("expected a size such as 10MB")
    # Prometheus counts in powers of 1024 whichever way the unit is written
    return int(found[1]) * 1024 ** _SIZE_STEPS.index((found[2] or "B")[0])


Duration = Annotated[int, BeforeValidator(_duration_ms), Field(ge=0)]
"""Milliseconds."""
Size = Annotated[int, BeforeValidator(_size_bytes), Field(ge=0)]
"""Bytes."""
Limit = Annotated[int, Field(ge=0)]
"""0: none."""
LabelSet = dict[str, str]
Scheme = Literal["utf8", "legacy"]
Escaping = Literal["", "allow-utf-8", "underscores", "dots", "values"]


def _protocols(protocols: tuple[str, ...]) -> tuple[str, ...]:
    if not protocols:
        raise ValueError("scrape_protocols cannot be empty")
    for protocol in protocols:
        _protocol(protocol)
    if len(set(protocols)) < len(protocols):
        raise ValueError("a protocol appears twice")
    if set(protocols) == {"PrometheusProto"}:
        raise ValueError("expected a text protocol beside PrometheusProto, which the agent does not read")
    return protocols


def _protocol(protocol: str) -> str:
    if protocol and protocol not in MEDIA_TYPES:
        raise ValueError(f"unknown scrape protocol {protocol}: expected one of {', '.join(MEDIA_TYPES)}")
    return protocol


def _fallback(protocol: str) -> str:
    if protocol == "PrometheusProto":
        raise ValueError("PrometheusProto is not read; expected a text protocol such as PrometheusText0.0.4")
    return _protocol(protocol)


Protocols = Annotated[tuple[str, ...], AfterValidator(_protocols)]


class RelabelConfig(Part):
    """A relabelling rule as it is written; `rule` is what it says."""

    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    regex: str = "(.*)"
    modulus: int = 0
    target_label: str = ""
    replacement: str = "$1"
    action: Annotated[str, AfterValidator(str.lower)] = "replace"

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            Relabelling([self.rule(only_legacy_names=False)])
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def rule(self, *, only_legacy_names: bool) -> Rule:
        """Return the rule."""
        return Rule(**self.model_dump(), only_legacy_names=only_legacy_names)


class TargetGroup(Part):
    """Addresses, and the labels that they have in common."""

    targets: tuple[str, ...] = ()
    labels: LabelSet = Field(default_factory=dict)

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: LabelSet) -> LabelSet:
        if "" in labels:
            raise ValueError("a label without a name")
        return labels


class FileDiscovery(Part):
    """Files of target groups."""

    files: tuple[str, ...]
    refresh_interval: Duration = 300_000

    @field_validator("files")
    @classmethod
    def _check_files(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        if not files:
            raise ValueError("file service discovery config must contain at least one path name")
        for name in files:
            if _FILE_PATTERN.fullmatch(name) is None:
                raise ValueError(f"path name {name!r} is not valid for file discovery: expected .json, .yml or .yaml")
        return files


class HttpDiscovery(Client):
    """A service that answers with target groups."""

    url: str
    refresh_interval: Duration = 60_000

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected a URL such as http://discovery.example/targets")
        return url


class Limits(Part):
    """Limits that `global` gives and a job may give otherwise; 0 is none."""

    body_size_limit: Size = 0
    sample_limit: Limit = 0
    target_limit: Limit = 0
    label_limit: Limit = 0
    label_name_length_limit: Limit = 0
    label_value_length_limit: Limit = 0
    keep_dropped_targets: Limit = 0


class GlobalConfig(Limits):
    """What holds for all jobs."""

    scrape_interval: Duration = 0
    scrape_timeout: Duration = 0
    scrape_protocols: Protocols | None = None
    external_labels: LabelSet = Field(default_factory=dict)
    metric_name_validation_scheme: Scheme = "utf8"
    metric_name_escaping_scheme: Escaping = ""
    scrape_native_histograms: bool = False
    convert_classic_histograms_to_nhcb: bool = False
    always_scrape_classic_histograms: bool = False
    evaluation_interval: Duration = 0
    rule_query_offset: Duration = 0
    query_log_file: str = ""
    scrape_failure_log_file: str = ""
    """This one and those before it are about other things than what is stored of a scrape; they have no effect."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.scrape_timeout > (self.scrape_interval or DEFAULT_INTERVAL_MS):
            raise ValueError("global scrape timeout greater than scrape interval")
        only_legacy = self.metric_name_validation_scheme == "legacy"
        for name in self.external_labels:
            if not is_label_name(name, only_legacy=only_legacy):
                raise ValueError(f"external label {name!r} is not a valid label name")
        return self


class ScrapeConfig(Limits, Client):
    """A job. Durations, limits and protocols that are 0 or None are those of `global`; `complete` fills them in."""

    job_name: str = Field(min_length=1)
    honor_labels: bool = False
    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    params: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    scrape_interval: Duration = 0
    scrape_timeout: Duration = 0
    scrape_protocols: Protocols | None = None
    fallback_scrape_protocol: Annotated[str, AfterValidator(_fallback)] = ""
    metrics_path: str = "/metrics"
    scheme: Literal["http", "https"] = "http"
    enable_compression: bool = True
    metric_name_validation_scheme: Scheme | None = None
    metric_name_escaping_scheme: Escaping = ""
    scrape_native_histograms: bool = False
    convert_classic_histograms_to_nhcb: bool = False
    always_scrape_classic_histograms: bool = False
    native_histogram_bucket_limit: Limit = 0
    native_histogram_min_bucket_factor: float = 0
    scrape_failure_log_file: str = ""
    static_configs: tuple[TargetGroup, ...] = ()
    file_sd_configs: tuple[FileDiscovery, ...] = ()
    http_sd_configs: tuple[HttpDiscovery, ...] = ()
    relabel_configs: tuple[RelabelConfig, ...] = ()
    metric_relabel_configs: tuple[RelabelConfig, ...] = ()

    @model_validator(mode="after")
    def _check_job(self) -> Self:
        if not self.relabel_configs:
            for address in (address for group in self.static_configs for address in group.targets):
                if "/" in address:
                    raise ValueError(f"{address!r} is not a valid hostname: expected HOST:PORT, without scheme or path")
        return self

    @property
    def only_legacy_names(self) -> bool:
        """Whether names are letters, digits and underscores; else they are any text."""
        return self.metric_name_validation_scheme == "legacy"

    @property
    def escaping(self) -> str:
        """What is asked of targets whose names are not of the legacy form."""
        return self.metric_name_escaping_scheme or ("underscores" if self.only_legacy_names else "allow-utf-8")

    def relabelling(self) -> Relabelling:
        """Return the rules for targets.

        Raises: ConfigError.
        """
        return Relabelling(each.rule(only_legacy_names=self.only_legacy_names) for each in self.relabel_configs)

    def metric_relabelling(self) -> Relabelling:
        """Return the rules for samples.

        Raises: ConfigError.
        """
        return Relabelling(each.rule(only_legacy_names=self.only_legacy_names) for each in self.metric_relabel_configs)

    def complete(self, general: GlobalConfig) -> "ScrapeConfig":
        """Return the job with what it leaves to `global`.

        Raises: ValueError.
        """
        interval = self.scrape_interval or general.scrape_interval or DEFAULT_INTERVAL_MS
        if self.scrape_timeout > interval:
            raise ValueError(f"scrape timeout greater than scrape interval for the job {self.job_name!r}")
        shared_timeout = general.scrape_timeout or min(
            DEFAULT_TIMEOUT_MS, general.scrape_interval or DEFAULT_INTERVAL_MS
        )
        protocols = self.scrape_protocols or general.scrape_protocols or DEFAULT_PROTOCOLS
        own_scheme = self.metric_name_validation_scheme
        filled: dict[str, object] = {
            "scrape_interval": interval,
            "scrape_timeout": self.scrape_timeout or min(shared_timeout, interval),
            "scrape_protocols": tuple(each for each in protocols if each != "PrometheusProto"),
            "metric_name_validation_scheme": own_scheme or general.metric_name_validation_scheme,
        }
        if not self.metric_name_escaping_scheme and own_scheme is None:
            filled["metric_name_escaping_scheme"] = general.metric_name_escaping_scheme
        filled |= {name: getattr(self, name) or getattr(general, name) for name in Limits.model_fields}
        job = self.model_copy(update=filled)
        if job.escaping == "allow-utf-8" and job.only_legacy_names:
            raise ValueError("utf8 metric names requested but validation scheme is not set to UTF8")
        try:
            job.relabelling()
            job.metric_relabelling()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return job
