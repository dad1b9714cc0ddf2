"""A collection as a LanceDB table, for SQL, full text, and other people's tools.

It is written from the collection, and nothing is read from it: LanceDB does not see a flipped bit in its files, so the
collection stays the truth. A table that is damaged, or older than the collection, is written again.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from polyprompt.disk.files import make_folder, one_process_at_a_time, set_aside, writing
from polyprompt.disk.tensors import is_utf8
from polyprompt.errors import ConfigError, FileError, install
from polyprompt.progress import say, step, track
from polyprompt.search.collection import Collection
from polyprompt.search.items import COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.db import DBConnection

TABLE, NEW = "files", "files-new"
STAMP = b"polyprompt"
"""Under this key the table's schema says what it was written from."""
BATCH = 10_000
"""Files written at a time."""


def write_table(collection: Collection, folder: Path) -> bool:
    """Brings the table `files` of a LanceDB database up to date; False: it was already.

    A line for each file: its place among the rows, what a filter can name (search/items.py), and its unit row in fp16;
    a full-text index on the paths. Indexes that others made on the table go when it is written again.

    Raises:
        ConfigError: no LanceDB, or the table is not a collection's. FileError: it cannot be written.
    """
    os.environ.setdefault("LANCEDB_LOG", "error")  # else it warns of every new table
    try:
        import lancedb
        from lancedb.index import FTS
    except ModuleNotFoundError:
        raise ConfigError(f"a LanceDB table needs the package lancedb; {install('lance')}") from None
    if not is_utf8(folder):
        raise FileError(f"{folder}: LanceDB opens no folder whose name is not UTF-8; choose another.")
    make_folder(folder)
    with one_process_at_a_time(folder / TABLE), writing(folder):
        base, place, new = lancedb.connect(folder), folder / f"{TABLE}.lance", folder / f"{NEW}.lance"
        schema = _schema(collection)
        if place.exists() and _is_whole(base, place, schema.metadata[STAMP], collection.items.counts()["files"]):
            return False
        shutil.rmtree(new, ignore_errors=True)  # of a run that was killed
        try:
            table = base.create_table(NEW, data=_batches(collection, schema), schema=schema)
            with step("Indexing the words of the paths"):
                table.create_index("path", config=FTS(stem=False, remove_stop_words=False))
        except RuntimeError as error:  # what the system refused, not always with its number
            raise FileError(f"{place}: cannot be written ({str(error).partition(', ')[0]}).") from error
        shutil.rmtree(place, ignore_errors=True)
        new.rename(place)
    return True


def _is_whole(base: "DBConnection", place: Path, stamp: bytes, files: int) -> bool:
    """Whether a table is what would be written; a damaged one is set aside.

    Raises:
        ConfigError: it is somebody else's.
    """
    try:
        table = base.open_table(TABLE)
        stamped, count = (table.schema.metadata or {}).get(STAMP), table.count_rows()
    except Exception as error:  # whatever is broken in it, LanceDB's errors have no type of their own
        reason = str(error).partition("\n")[0][:100]
        say(f"{place}: damaged ({reason}): set aside as {set_aside(place).name}, and written again.")
        return False
    if stamped is None:
        raise ConfigError(f"{place}: is a table that polyprompt did not write; choose another folder.")
    return (stamped, count) == (stamp, files)


def _schema(collection: Collection) -> "pa.Schema":
    import pyarrow as pa

    kinds = {"TEXT": pa.string(), "INTEGER": pa.int64()}
    columns = [pa.field(name, kinds[kind]) for name, kind in COLUMNS.items()]
    vector = pa.field("vector", pa.list_(pa.float16(), collection.vectors.dim))
    about = collection.about
    stamp = {"state": collection.stores.state, "model": about.model, "fingerprint": about.fingerprint}
    stamp |= {"root": about.root, "prompts": about.prompts}
    return pa.schema([pa.field("row", pa.int64()), *columns, vector], metadata={STAMP: json.dumps(stamp)})


def _batches(collection: Collection, schema: "pa.Schema") -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    live = np.arange(len(collection)) if collection.live is None else collection.live
    for at in track(range(0, len(live), BATCH), "Files for LanceDB"):
        of_rows = collection.items.of_rows(live[at : at + BATCH].tolist())
        files = [file for some in of_rows.values() for file in some]
        places = np.array([file.row for file in files], np.int64)
        rows = collection.vectors.take(places).half().numpy()
        columns = [pa.array([file.facts[name] for file in files], schema.field(name).type) for name in COLUMNS]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        yield pa.RecordBatch.from_arrays([pa.array(places), *columns, vectors], schema=schema)
