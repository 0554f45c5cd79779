"""Tables as Parquet files: takes the columns' names and kinds and their values, returns bytes.

The only importer of pyarrow, which the ``[parquet]`` extra brings.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audiocnn.errors import needs_extra

if TYPE_CHECKING:
    import pyarrow as pa

_GROUP_ROWS = 1 << 17  # rows that are held before they are written


def parquet_bytes(columns: Mapping[str, type], pieces: Iterable[Sequence[Any]], about: Mapping[str, Any]) -> bytes:
    """Return a file with these columns, text (``str``) or float64 (``float``); None is null.

    Each of ``pieces`` has the values of some rows: a list or array for every column. ``about`` is kept as JSON in the
    metadata, under "audiocnn". Raises `MissingExtraError` without pyarrow.
    """
    with needs_extra("parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

    fields = [(name, pa.string() if kind is str else pa.float64()) for name, kind in columns.items()]
    schema = pa.schema(fields, metadata={"audiocnn": json.dumps(about, ensure_ascii=False, allow_nan=False)})
    out = io.BytesIO()
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for table in _grouped((_table(piece, schema) for piece in pieces), schema):
            writer.write_table(table)
    return out.getvalue()


def _table(piece: Sequence[Any], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    arrays = [pa.array(values, field.type) for values, field in zip(piece, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _grouped(tables: Iterable["pa.Table"], schema: "pa.Schema") -> Iterator["pa.Table"]:
    """Small tables joined to ones that are worth a row group of the file; at least one, that may be empty."""
    import pyarrow as pa

    held: list[pa.Table] = [schema.empty_table()]
    n_rows = 0
    for table in tables:
        held.append(table)
        n_rows += len(table)
        if n_rows >= _GROUP_ROWS:
            yield pa.concat_tables(held)
            held, n_rows = [], 0
    if held:
        yield pa.concat_tables(held)
