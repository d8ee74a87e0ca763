"""The scrape configuration's file: a path arrives, a Configuration with complete jobs leaves, or an error that helps.

Errors name file, line and key, say what was expected, and never show a value, which may be a secret. What Prometheus
has and the agent does not is named with what to do instead; sections of a Prometheus that have nothing to do with
scraping are passed over and listed. Paths are relative to the file that names them.

Source: Prometheus 3, `config`.
"""

import difflib
import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError

from kobs.collectors.scraping.client_configuration import Part
from kobs.collectors.scraping.configuration import FileDiscovery, GlobalConfig, ScrapeConfig
from kobs.collectors.scraping.documents import Document, read_document, without_nothing
from kobs.config import environment
from kobs.errors import ConfigError

T = TypeVar("T", bound=BaseModel)

_PASSED_OVER = ("alerting", "otlp", "remote_read", "remote_write", "rule_files", "runtime", "storage", "tracing")
_UNRELATED = ("evaluation_interval", "query_log_file", "rule_query_offset")
_NATIVE = ("scrape_native_histograms", "convert_classic_histograms_to_nhcb")
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


class _File(Part):
    """The file as a whole, but for what is passed over."""

    global_: GlobalConfig = Field(default=GlobalConfig(), alias="global")
    scrape_configs: tuple[ScrapeConfig, ...] = ()
    scrape_config_files: tuple[str, ...] = ()


class _MoreFile(Part):
    """A file that `scrape_config_files` names."""

    scrape_configs: tuple[ScrapeConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole scrape configuration; `notes` are sentences for its author on what has no effect."""

    external_labels: Mapping[str, str]
    jobs: tuple[ScrapeConfig, ...]
    files: tuple[Path, ...]
    """All files that it was read from."""
    notes: tuple[str, ...]


def load(path: Path) -> Configuration:
    """Read a configuration.

    Raises: ConfigError that names file, line and key, and what was expected.
    """
    document = read_document(path)
    content = _mapping(document)
    passed_over = [name for name in _PASSED_OVER if name in content]
    file = _validated(document, {key: value for key, value in content.items() if key not in _PASSED_OVER}, _File)
    jobs = list(_completed(document, file.scrape_configs, file.global_))
    files = [path]
    for pattern in file.scrape_config_files:
        for name in found_files(str(path.parent / pattern)):
            more = read_document(name)
            files.append(more.path)
            jobs += _completed(more, _validated(more, _mapping(more), _MoreFile).scrape_configs, file.global_)
    seen: set[str] = set()
    for job in jobs:
        if job.job_name in seen:
            raise ConfigError(f"file {path}: found multiple scrape configs with job name {job.job_name!r}")
        seen.add(job.job_name)
    notes = []
    if passed_over:
        notes.append(f"sections that have nothing to do with scraping are passed over: {', '.join(passed_over)}")
    native = sorted({name for part in (file.global_, *jobs) for name in _NATIVE if getattr(part, name)})
    if native:
        notes.append(f"native histograms are not stored, classic ones are; without effect: {', '.join(native)}")
    unrelated = [name for name in _UNRELATED if getattr(file.global_, name)]
    if unrelated:
        notes.append(f"keys of global that have nothing to do with scraping are passed over: {', '.join(unrelated)}")
    if file.global_.scrape_failure_log_file or any(job.scrape_failure_log_file for job in jobs):
        notes.append(
            "scrape_failure_log_file is not written; failures are in the agent's log, GET /api/v1/targets and `up`"
        )
    return Configuration(_expanded(file.global_.external_labels), tuple(jobs), tuple(files), tuple(notes))


def found_files(pattern: str) -> list[Path]:
    """Return the files of a glob, in the order of their names."""
    return [Path(name) for name in sorted(glob.glob(pattern))]  # noqa: PTH207 - Path.glob takes no absolute pattern


def _completed(document: Document, jobs: Sequence[ScrapeConfig], general: GlobalConfig) -> Iterator[ScrapeConfig]:
    for number, job in enumerate(jobs):
        try:
            yield _with_directory(job, document.path.parent).complete(general)
        except ValueError as error:
            line = document.line_of(["scrape_configs", number])
            raise ConfigError(f"file {document.path}, line {line}: scrape_configs[{number}]: {error}") from None


def _mapping(document: Document) -> dict[str, Any]:
    content = without_nothing(document.content)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"file {document.path}: expected the sections global and scrape_configs")
    return content


def _validated(document: Document, content: object, kind: type[T]) -> T:
    """Return a part of a file as a model; everything that is wrong with it is told at once."""
    try:
        return kind.model_validate(content, by_alias=True)
    except ValidationError as error:
        told = [_tell(document, found, kind) for found in error.errors(include_url=False, include_context=True)]
    heading = "" if len(told) == 1 else f"file {document.path}: {len(told)} things are wrong:\n  "
    raise ConfigError(heading + "\n  ".join(told))


def _tell(document: Document, error: Mapping[str, Any], kind: type[BaseModel]) -> str:
    """Say in one line what is wrong with one key; values are not shown, as they may be secrets."""
    place = error["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    if error["type"] == "extra_forbidden":
        reason = _unknown(str(place[-1]), _model_at(kind, place[:-1]))
    elif error["type"] == "value_error":
        reason = str(error["ctx"]["error"])
    elif error["type"] == "missing":
        reason = "expected a value"
    elif error["type"] == "literal_error":
        reason = f"expected {error['ctx']['expected']}"
    elif error["type"] == "tuple_type":
        reason = "expected a list"
    elif error["type"] in ("model_type", "dict_type"):
        reason = "expected a mapping"
    else:
        reason = error["msg"][:1].lower() + error["msg"][1:]
    return f"file {document.path}, line {document.line_of(place)}: {key or 'the file'}: {reason}"


_INSTEAD = {
    "client_secret_ref": "use client_secret_file",
    **dict.fromkeys(
        (
            "client_certificate_key",
            "client_certificate_key_file",
            "client_certificate_key_id",
            "client_certificate_key_ref",
            "signature_algorithm",
            "iss",
            "audience",
            "claims",
        ),
        "a token is asked for with grant_type client_credentials only: use client_secret_file, and endpoint_params"
        " for what the issuer wants beside it",
    ),
    "extra_scrape_metrics": "scrape_timeout_seconds, scrape_sample_limit and scrape_body_size_bytes are not made",
    "scrape_classic_histograms": "classic histograms are always taken; leave it out",
    "username_ref": "use username_file",
    "password_ref": "use password_file",
    "credentials_ref": "use credentials_file",
    "ca_ref": "use ca_file",
    "cert_ref": "use cert_file",
    "key_ref": "use key_file",
}


def _unknown(name: str, model: type[BaseModel] | None) -> str:
    if name.endswith("_sd_configs"):
        return "this kind of discovery is not supported; use static_configs, file_sd_configs or http_sd_configs"
    if name in _INSTEAD:
        return f"not supported; {_INSTEAD[name]}"
    known = [] if model is None else [field.alias or key for key, field in model.model_fields.items()]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key"


def _model_at(kind: type[BaseModel], place: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the model that stands at a place of another."""
    model: type[BaseModel] | None = kind
    for step in place:
        if isinstance(step, int) or model is None:
            continue
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if step in fields:
            model = next(_models(fields[step].annotation), None)
    return model


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _with_directory(part: T, folder: Path) -> T:
    """Return a part whose relative paths begin at a folder."""
    changed = {name: _joined(getattr(part, name), folder) for name in type(part).model_fields}
    if isinstance(part, FileDiscovery):
        changed["files"] = tuple(str(folder / name) for name in part.files)
    return part.model_copy(update=changed)


def _joined(value: object, folder: Path) -> object:
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, BaseModel):
        return _with_directory(value, folder)
    if isinstance(value, tuple):
        return tuple(_joined(each, folder) for each in value)
    if isinstance(value, dict):
        return {name: _joined(each, folder) for name, each in value.items()}
    return value


def _expanded(labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels with variables of the environment put in; `$$` is a dollar sign, a missing variable is empty."""
    variables = environment()

    def value_of(found: "re.Match[str]") -> str:
        name = found[1] or found[2]
        return "$" if name is None else variables.get(name, "")

    return {name: _VARIABLE.sub(value_of, value) for name, value in labels.items()}
