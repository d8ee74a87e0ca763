"""Arrow tables as the engine's bytes and back.

What arrives for an insert is checked against the table's columns, because the engine converts some wrong types in
silence: an integer for a DateTime64 is read as seconds and ends at the year 9999.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from kobs.errors import StorageError

_TYPE_MISMATCH = 53
_UNKNOWN_COLUMN = 16


def read(content: bytes) -> pa.Table:
    """Return the table of an Arrow stream; no bytes at all are a table without columns.

    Raises: StorageError if the bytes are not one stream from their first byte to their last.
    """
    if not content:
        return pa.table({})
    source = pa.BufferReader(content)
    with pa.ipc.open_stream(source) as stream:
        rows = stream.read_all()
    if source.tell() != len(content):
        raise StorageError("the engine's answer goes on after its end", code=0, name="WRONG_ANSWER")
    return rows


def write(rows: pa.Table, *, compress: bool) -> pa.Buffer:
    """Return `rows` as one Arrow stream of one batch, so that the engine sees one block."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd" if compress else None, unify_dictionaries=True)
    with pa.ipc.new_stream(sink, rows.schema, options=options) as stream:
        stream.write_table(rows.unify_dictionaries().combine_chunks())
    return sink.getvalue()


def check(table: str, rows: pa.Table, columns: Mapping[str, str]) -> None:
    """Check the columns of `rows` against those of a table, given with their ClickHouse types.

    Raises: StorageError for a column that the table lacks, and for a DateTime64 that is no timestamp.
    """
    if not columns:
        raise StorageError(f"insert: there is no table {table}", code=60, name="UNKNOWN_TABLE")
    for field in rows.schema:
        kind = columns.get(field.name)
        if kind is None:
            raise StorageError(
                f"insert into {table}: no column {field.name}", code=_UNKNOWN_COLUMN, name="NO_SUCH_COLUMN_IN_TABLE"
            )
        if "DateTime64" in kind and _is_number(field.type):
            raise StorageError(
                f"insert into {table}: column {field.name} is {kind} and takes timestamps, got {field.type}, "
                "which the engine would read as seconds",
                code=_TYPE_MISMATCH,
                name="TYPE_MISMATCH",
            )


def _is_number(kind: Any) -> bool:
    """Tell whether the innermost values of an Arrow type are numbers."""
    while True:
        if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        elif pa.types.is_map(kind):
            kind = kind.item_type
        else:
            return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
