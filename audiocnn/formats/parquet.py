"""Tables as Parquet files: takes names, types and values of columns, returns bytes.

Only this module imports pyarrow, which the ``[parquet]`` extra installs.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audiocnn.errors import needs_extra

if TYPE_CHECKING:
    import pyarrow as pa

_GROUP_ROWS = 1 << 17  # least number of rows in a row group, except the last one


def parquet_bytes(columns: Mapping[str, type], pieces: Iterable[Sequence[Any]], metadata: Mapping[str, Any]) -> bytes:
    """Return a Parquet file with these columns, text (``str``) or float64 (``float``); None is null.

    Each piece holds some rows: a list or array for every column. ``metadata`` is stored as JSON under the key
    "audiocnn". Raises `MissingExtraError` without pyarrow.
    """
    with needs_extra("parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

    fields = [(name, pa.string() if type_ is str else pa.float64()) for name, type_ in columns.items()]
    schema = pa.schema(fields, metadata={"audiocnn": json.dumps(metadata, ensure_ascii=False, allow_nan=False)})
    out = io.BytesIO()
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for table in _join_small((_table(piece, schema) for piece in pieces), schema):
            writer.write_table(table)
    return out.getvalue()


def _table(piece: Sequence[Any], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    arrays = [pa.array(values, field.type) for values, field in zip(piece, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _join_small(tables: Iterable["pa.Table"], schema: "pa.Schema") -> Iterator["pa.Table"]:
    """Join small tables to one per row group of the file; yield at least one, which may be empty."""
    import pyarrow as pa

    group: list[pa.Table] = [schema.empty_table()]
    n_rows = 0
    for table in tables:
        group.append(table)
        n_rows += len(table)
        if n_rows >= _GROUP_ROWS:
            yield pa.concat_tables(group)
            group, n_rows = [], 0
    if group:
        yield pa.concat_tables(group)
