"""Messages of remote write, made by the protobuf library from descriptions of them: no code of kobs is in them."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from kobs.model.samples import STALE_NAN_BITS

STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]

V1 = "application/x-protobuf;proto=prometheus.WriteRequest"
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"

_KINDS = {"string": 9, "double": 1, "int64": 3, "uint32": 13, "uint64": 4}
_MESSAGES = {
    "test.Label": {"name": ("string", 1), "value": ("string", 2)},
    "test.Sample": {"value": ("double", 1), "timestamp": ("int64", 2), "start_timestamp": ("int64", 3)},
    "test.Exemplar": {"labels": ("*test.Label", 1), "value": ("double", 2), "timestamp": ("int64", 3)},
    "test.Histogram": {"count_int": ("uint64", 1), "sum": ("double", 3), "timestamp": ("int64", 15)},
    "test.TimeSeries": {
        "labels": ("*test.Label", 1),
        "samples": ("*test.Sample", 2),
        "exemplars": ("*test.Exemplar", 3),
        "histograms": ("*test.Histogram", 4),
        "later": ("string", 100),
    },
    "test.MetricMetadata": {
        "type": ("uint32", 1),
        "metric_family_name": ("string", 2),
        "help": ("string", 4),
        "unit": ("string", 5),
    },
    "test.WriteRequest": {"timeseries": ("*test.TimeSeries", 1), "metadata": ("*test.MetricMetadata", 3)},
    "test.Exemplar2": {"labels_refs": ("*uint32", 1), "value": ("double", 2), "timestamp": ("int64", 3)},
    "test.Metadata2": {"type": ("uint32", 1), "help_ref": ("uint32", 3), "unit_ref": ("uint32", 4)},
    "test.TimeSeries2": {
        "labels_refs": ("*uint32", 1),
        "samples": ("*test.Sample", 2),
        "histograms": ("*test.Histogram", 3),
        "exemplars": ("*test.Exemplar2", 4),
        "metadata": ("test.Metadata2", 5),
        "created_timestamp": ("int64", 6),
    },
    "test.Request2": {"symbols": ("*string", 4), "timeseries": ("*test.TimeSeries2", 5)},
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="remote_write.proto", package="test", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name.removeprefix("test."))
        for field_name, (told, number) in fields.items():
            added = message.field.add(name=field_name, number=number)
            added.label = 3 if told.startswith("*") else 1
            kind = told.removeprefix("*")
            if kind in _KINDS:
                added.type = _KINDS[kind]
            else:
                added.type, added.type_name = 11, f".{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in _MESSAGES}


CLASSES = _classes()


@dataclass
class Series:
    """A series of a message; `samples` are times and values."""

    labels: Mapping[str, str] | Sequence[tuple[str, str]]
    samples: Sequence[tuple[int, float]] = ()
    exemplars: int = 0
    histograms: int = 0
    metadata: tuple[int, str, str] = (0, "", "")
    refs: list[int] | None = field(default=None)

    def pairs(self) -> list[tuple[str, str]]:
        return sorted(self.labels.items()) if isinstance(self.labels, Mapping) else list(self.labels)


def message_v1(*series: Series, metadata: Sequence[tuple[int, str, str, str]] = ()) -> bytes:
    """Return a WriteRequest. Metadata are type, name, help, unit."""
    request = CLASSES["test.WriteRequest"]()
    for each in series:
        made = request.timeseries.add()
        for name, value in each.pairs():
            made.labels.add(name=name, value=value)
        for time_ms, value in each.samples:
            made.samples.add(value=value, timestamp=time_ms)
        for _ in range(each.exemplars):
            made.exemplars.add(value=1.0, timestamp=1)
        for _ in range(each.histograms):
            made.histograms.add(count_int=1, timestamp=1)
    for kind, name, description, unit in metadata:
        request.metadata.add(type=kind, metric_family_name=name, help=description, unit=unit)
    return bytes(request.SerializeToString())


def message_v2(*series: Series, symbols: Sequence[str] = ("",)) -> bytes:
    """Return a Request; its symbols begin with those given."""
    table = {text: index for index, text in enumerate(symbols)}

    def ref(text: str) -> int:
        return table.setdefault(text, len(table))

    request = CLASSES["test.Request2"]()
    for each in series:
        made = request.timeseries.add()
        refs = [ref(text) for pair in each.pairs() for text in pair]
        made.labels_refs.extend(refs if each.refs is None else each.refs)
        for time_ms, value in each.samples:
            made.samples.add(value=value, timestamp=time_ms)
        for _ in range(each.exemplars):
            made.exemplars.add(value=1.0, timestamp=1)
        for _ in range(each.histograms):
            made.histograms.add(count_int=1, timestamp=1)
        kind, description, unit = each.metadata
        if any(each.metadata):
            made.metadata.type, made.metadata.help_ref, made.metadata.unit_ref = kind, ref(description), ref(unit)
    request.symbols.extend(table)
    return bytes(request.SerializeToString())


def snappy(message: bytes) -> bytes:
    """Return a message in snappy's block format."""
    return bytes(cramjam.snappy.compress_raw(message))
