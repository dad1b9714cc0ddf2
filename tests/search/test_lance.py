"""The LanceDB table of a collection, read with LanceDB's own code, against what the collection itself answers."""

import os

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from toy_search import ToyModel, picture

from polyprompt.errors import ConfigError, FileError
from polyprompt.search.candidates import in_folder
from polyprompt.search.collection import Collection
from polyprompt.search.fill import index
from polyprompt.search.items import COLUMNS
from polyprompt.search.lance import write_table
from polyprompt.search.query import Query, ask

TEXT = F.normalize(torch.randn(1, 8, generator=torch.Generator().manual_seed(0)), dim=-1)


@pytest.fixture
def collection(tmp_path):
    """Twelve pictures in three folders; two files have the same content, one has gone, one has a name of odd bytes."""

    def fill():
        index(ToyModel(), in_folder(tmp_path / "photos"), "photos", tmp_path / "collection")
        return Collection(tmp_path / "collection")

    for i in range(12):
        picture(tmp_path / "photos" / ("beach", "city", "old house")[i % 3] / f"red_dog-{i}.png", i % 11)
    picture(tmp_path / "photos" / "gone.png", 40)
    os.rename(picture(tmp_path / "photos" / "odd.png", 50), os.fsencode(tmp_path / "photos") + b"/caf\xe9.png")
    fill()
    (tmp_path / "photos" / "gone.png").unlink()
    return fill


def opened(folder):
    return pytest.importorskip("lancedb").connect(folder).open_table("files")


@pytest.mark.slow
def test_the_table_tells_what_the_collection_does(collection, tmp_path):
    found = collection()
    assert write_table(found, tmp_path / "tables")
    table = opened(tmp_path / "tables")
    every = table.to_arrow().to_pydict()
    assert set(every) == {"row", "vector", *COLUMNS}
    files = {str(file.facts["path"]): file for some in found.items.of_rows(range(len(found))).values() for file in some}
    assert len(files) == 13
    assert sorted(every["path"]) == sorted(files)
    for number, path in enumerate(every["path"]):
        assert {name: every[name][number] for name in COLUMNS} == files[path].facts
        assert every["row"][number] == files[path].row
    rows = torch.tensor(np.array(every["vector"], np.float32))
    assert torch.equal(rows, found.vectors.take(np.array(every["row"])))

    where = "path LIKE 'beach/%' AND width = 8"
    hits = table.search(TEXT[0].numpy()).distance_type("dot").where(where).limit(99).to_list()
    ours = ask(found, Query(wanted=TEXT, where=where), 99)
    scores = {hit.row: hit.score for hit in ours}
    there = {(file.facts["path"], file.row) for hit in ours for file in hit.files}
    assert {(hit["path"], hit["row"]) for hit in hits} == {one for one in there if one[0].startswith("beach/")}
    assert [1 - hit["_distance"] for hit in hits] == pytest.approx([scores[hit["row"]] for hit in hits], abs=2e-3)
    named = table.search("house", query_type="fts").limit(99).to_list()
    assert {hit["path"] for hit in named} == {path for path in files if "old house" in path}


@pytest.mark.slow
def test_an_old_or_damaged_table_is_written_again(collection, tmp_path, capsys):
    found, place = collection(), tmp_path / "tables"
    assert (write_table(found, place), write_table(found, place)) == (True, False)
    picture(tmp_path / "photos" / "new.png", 77)
    assert write_table(collection(), place)
    assert opened(place).count_rows("name = 'new.png'") == 1
    opened(place).delete("name = 'new.png'")
    assert write_table(collection(), place)
    assert opened(place).count_rows() == 14
    newest = min((place / "files.lance" / "_versions").iterdir())
    newest.write_bytes(b"")
    capsys.readouterr()
    assert write_table(collection(), place)
    (message,) = [line for line in capsys.readouterr().err.splitlines() if "set aside" in line]
    assert "files.lance: damaged" in message
    assert opened(place).count_rows() == 14
    assert (place / "files.lance.damaged").is_dir()


@pytest.mark.slow
def test_somebody_elses_table_is_left_alone(collection, tmp_path):
    pytest.importorskip("lancedb").connect(tmp_path / "tables").create_table("files", data=[{"theirs": 1}])
    with pytest.raises(ConfigError, match=r"a table that polyprompt did not write; choose another"):
        write_table(collection(), tmp_path / "tables")
    assert opened(tmp_path / "tables").to_arrow().to_pylist() == [{"theirs": 1}]


def test_without_lancedb(collection, tmp_path, not_installed):
    not_installed("lancedb")
    with pytest.raises(ConfigError, match=r"pip install '\.\[lance\]' in a clone"):
        write_table(collection(), tmp_path / "tables")


def test_a_folder_that_lancedb_cannot_open_is_one_line(collection, tmp_path):
    pytest.importorskip("lancedb")
    with pytest.raises(FileError, match="opens no folder whose name is not UTF-8"):
        write_table(collection(), tmp_path / "caf\udce9")
    assert not (tmp_path / "caf\udce9").exists()
