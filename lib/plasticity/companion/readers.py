"""Read data files into Arrow tables, and number the documents in them."""

import gzip
import io
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

HEADING = r"^\s*= [^=](?:.*[^=])? =\s*$"  # "= Title =", not "= = Section = ="


def read(files: list[Path]) -> "pa.Table":
    """Read the files of one split into a table.

    Parameters
    ----------
    files : list of Path
        Parquet files to concatenate, one ``.txt`` file (a row per line), one ``.csv.gz`` file
        (784 pixels and a label per row), or a pair of gzipped idx files (images and labels).

    Returns
    -------
    pyarrow.Table
        The columns of the file; images are uint8, (28, 28) each, in the column ``image`` beside
        ``label``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = files[0]
    if first.suffix == ".parquet":
        table = pa.concat_tables([pq.read_table(file) for file in files])
        table = table.replace_schema_metadata(None)
        return _decoded(table) if "image" in table.column_names else table
    if first.suffix == ".txt":
        return pa.table({"text": first.read_text(encoding="utf-8").splitlines()})
    if first.name.endswith(".csv.gz"):
        import pandas as pd

        pixels = pd.read_csv(first, header=None, dtype="uint8").to_numpy()
        return image_table(pixels[:, :-1].reshape(-1, 28, 28), pixels[:, -1])
    images, labels = sorted((read_idx(file) for file in files), key=np.ndim, reverse=True)
    return image_table(images, labels)


def first_json_lines(packed: BinaryIO, count: int) -> "pa.Table":
    """Read the first of gzipped lines of JSON objects as the rows of a table.

    Parameters
    ----------
    packed : binary file
        Read no further than it must be.
    count : int
        How many rows, at most.

    Examples
    --------
    >>> packed = io.BytesIO(gzip.compress(json.dumps({"text": "one"}).encode()))
    >>> first_json_lines(packed, 1).num_rows
    1
    """
    import pyarrow as pa

    with gzip.open(packed, "rt", encoding="utf-8") as lines:
        return pa.Table.from_pylist([json.loads(line) for line in itertools.islice(lines, count)])


def first_of_parquet(file: BinaryIO, count: int) -> "pa.Table":
    """Read the first rows of a parquet file; parameters as in `first_json_lines`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, batches = 0, []
    for batch in pq.ParquetFile(file).iter_batches():
        batches.append(batch)
        rows += batch.num_rows
        if rows >= count:
            break
    return pa.Table.from_batches(batches).slice(0, count).replace_schema_metadata(None)


def read_idx(file: Path) -> np.ndarray:
    """Read a gzipped idx file of unsigned bytes, the format MNIST is published in.

    Returns
    -------
    numpy.ndarray of uint8
        Of the shape that the file's header states.
    """
    content = gzip.decompress(file.read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def image_table(images: np.ndarray, labels: np.ndarray) -> "pa.Table":
    """Wrap images and labels in a table, without going through Python row by row.

    Parameters
    ----------
    images : numpy.ndarray of uint8, shape (rows, height, width)
    labels : numpy.ndarray of uint8, shape (rows,)

    Returns
    -------
    pyarrow.Table
        Columns ``image`` (the fixed-shape 2-D array type of `datasets`) and ``label``.
    """
    import pyarrow as pa
    from datasets.features.features import Array2DExtensionType

    rows, height, width = images.shape
    starts = pa.array(np.arange(rows * height + 1, dtype=np.int32) * width)
    lines = pa.ListArray.from_arrays(starts, pa.array(images.reshape(-1)))
    starts = pa.array(np.arange(rows + 1, dtype=np.int32) * height)
    storage = pa.ListArray.from_arrays(starts, lines)
    kind = Array2DExtensionType((height, width), "uint8")
    return pa.table({"image": pa.ExtensionArray.from_storage(kind, storage), "label": labels})


def with_documents(tables: dict[str, "pa.Table"], how: str) -> dict[str, "pa.Table"]:
    """Append the column ``document``, an int64 id shared by the rows of one document.

    Parameters
    ----------
    tables : dict
        Tables by split.
    how : str
        ``row`` (each row is a document), ``heading`` (a document starts at each first-level
        heading of wikitext, ``= Title =``), or the name of a column (one document a value; its
        values are numbered in sorted order over all splits).
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pa.array([])
    if how not in ("row", "heading"):
        values = pa.chunked_array(
            [chunk for table in tables.values() for chunk in table.column(how).chunks]
        ).unique()
        values = values.take(pc.array_sort_indices(values))

    def ids(table: "pa.Table") -> np.ndarray:
        if how == "row":
            return np.arange(table.num_rows)
        if how == "heading":
            return np.cumsum(pc.match_substring_regex(table.column("text"), HEADING).to_numpy())
        return pc.index_in(table.column(how), values).to_numpy()

    return {
        split: table.append_column("document", pa.array(ids(table).astype(np.int64)))
        for split, table in tables.items()
    }


def _decoded(table: "pa.Table") -> "pa.Table":
    """Decode the image files that the Hub keeps in its tables."""
    from PIL import Image

    contents = table.column("image").combine_chunks().field("bytes").to_pylist()
    images = np.stack([np.asarray(Image.open(io.BytesIO(content))) for content in contents])
    return image_table(images, table.column("label").to_numpy().astype(np.uint8))
