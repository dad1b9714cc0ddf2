"""Collections opened: damaged, changed meanwhile, in many pieces, large."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
import torch
from toy_search import ToyModel, flip, paths, picture, plain

from polyprompt.disk.files import read_json, write_json
from polyprompt.errors import FileError
from polyprompt.search import collection as module
from polyprompt.search.candidates import in_folder
from polyprompt.search.collection import About, Collection, Stores, write_about
from polyprompt.search.fill import Work
from polyprompt.search.query import Query, ask


def test_a_row_that_the_log_does_not_name_yet_lacks_nothing(model, photos, filled):
    """As a kill or a full disk leaves it: rows come first, thumbnails and the log behind them."""
    before = paths(ask(Collection(filled), Query(wanted=model.texts(["a dog"])), 99))
    Stores(filled).rows.append(["new"], [torch.ones(1, 8)])
    found = Collection(filled)
    found.check()
    assert paths(ask(found, Query(wanted=model.texts(["a dog"])), 99)) == before


def test_a_damaged_truth_is_refused(filled, tmp_path):
    stores = [path for name in ("rows", "thumbnails", "files") for path in (filled / name).glob("[!.]*")]
    for path in [*stores, filled / "collection.json"]:
        if path.name == "checked.json":
            continue
        copy = shutil.copytree(filled, tmp_path / "copy")
        damaged = copy / path.relative_to(filled)
        flip(damaged)
        with pytest.raises(FileError) as error:
            Collection(copy).check()
        assert damaged.name in str(error.value) or "collection.json" in str(error.value)
        assert "\n" not in str(error.value)
        shutil.rmtree(copy)


@pytest.mark.parametrize("store", ["rows", "thumbnails"])
def test_a_whole_store_that_is_gone_is_missed(store, fill, filled):
    """Also when it is indexed again: all its files are known, so nothing would be embedded."""
    shutil.rmtree(filled / store)
    if store == "rows":
        with pytest.raises(FileError, match="rows: 12 missing"):
            fill()
    with pytest.raises(FileError, match=f"{store}: 12 missing"):
        Collection(filled).check()


def test_a_log_that_is_gone_is_missed_and_made_again(model, fill, filled):
    """It did not open as if it were empty; its pictures are there, so indexing mends it."""
    shown = paths(ask(Collection(filled), Query(wanted=model.texts(["x"])), 99))
    shutil.rmtree(filled / "files")
    for _ in range(2):
        with pytest.raises(
            FileError, match=r"files: missing\. Copy it again from where it came, or make it again with"
        ):
            Collection(filled)
    assert len(list((filled / "index").glob("*.sqlite"))) == 1, "its index is still the old one"
    fill()
    assert paths(ask(Collection(filled), Query(wanted=model.texts(["x"])), 99)) == shown


class HeldUp(ToyModel):
    """Says when it has begun, and waits until it may go on."""

    def __init__(self):
        super().__init__()
        self.started, self.free = threading.Event(), threading.Event()

    def images(self, pixels):
        self.started.set()
        self.free.wait(60)
        return super().images(pixels)


def test_what_another_one_adds_before_it_is_opened_is_there(photos, fill, filled):
    """The index is missing and the other one holds the lock, so opening waits for it."""
    shutil.rmtree(filled / "index")
    picture(photos / "more.png", 60)
    slow = HeldUp()
    with ThreadPoolExecutor(2) as pool:
        try:
            filling = pool.submit(fill, model=slow)
            assert slow.started.wait(60)
            opening = pool.submit(Collection, filled)
            assert wait([opening], 0.5).not_done
        finally:
            slow.free.set()
        filling.result()
        found = opening.result()
    assert (len(found), found.items.counts()["files"]) == (13, 13)


@pytest.mark.parametrize("store", ["rows", "thumbnails"])
def test_rows_that_are_cut_while_they_are_asked_kill_nobody(store, model, filled):
    """Reading a mapped file beyond its end is a signal, not an error."""
    found = Collection(filled)
    found.thumbnail(0)
    (piece,) = (filled / store).glob("*.safetensors")
    os.truncate(piece, 0)
    asked = [lambda: found.thumbnail(0)]
    if store == "rows":
        text = model.texts(["x"])
        asked += [
            lambda: ask(found, Query(wanted=text), 3),
            lambda: ask(found, Query(wanted=text, where="size > 0"), 3),
            lambda: found.vectors.find(bytes(32)),
        ]
    for one in asked:
        with pytest.raises(FileError, match=rf"{piece.name}: has 0 bytes, and had \d"):
            one()


@pytest.mark.parametrize("how", ["flip", "gone", "cut", "folder", "unsealed"])
def test_a_damaged_index_is_made_again(how, model, filled, capsys):
    before = paths(ask(Collection(filled), Query(wanted=model.texts(["x"])), 99))
    (base,), index = (filled / "index").glob("*.sqlite"), filled / "index" / "index.json"
    {
        "flip": lambda: flip(base),
        "gone": base.unlink,
        "cut": lambda: index.write_text("{"),
        "folder": lambda: shutil.rmtree(filled / "index"),
        "unsealed": lambda: write_json(index, {"index": read_json(index)["index"]}),
    }[how]()
    assert paths(ask(Collection(filled), Query(wanted=model.texts(["x"])), 99)) == before
    assert "made again from them" in capsys.readouterr().err
    Collection(filled).check()


def test_no_collection(tmp_path):
    with pytest.raises(FileError, match="no collection here"):
        Collection(tmp_path)


def test_pieces_are_joined_and_places_stay(model, photos, fill, filled):
    rows = Collection(filled).vectors.take(np.arange(12))
    for i in range(4):
        picture(photos / f"more{i}.png", 60 + i)
        fill()
    found = Collection(filled)
    assert len(found.stores.rows.pieces()) == len(found.stores.files.pieces()) == 1
    assert torch.equal(found.vectors.take(np.arange(12)), rows)
    assert (found.vectors.find(found.vectors.key(13)), found.vectors.find(bytes(32))) == (13, None)
    assert module.read_index(filled).state == found.stores.state


def test_many_pieces_are_read_as_one(model, photos, tmp_path):
    """As those leave a collection who were killed before they joined their pieces."""
    out, there = tmp_path / "collection", in_folder(photos)
    write_about(out, About(str(photos), model.name, model.fingerprint, model.prompts, model.frames))
    for at in range(0, 12, 2):
        work = Work(model, Stores(out), {})
        work.embed(there[at : at + 2], set())
        work.keep()
    found = Collection(out)
    assert len(found.stores.rows.pieces()) == len(found.stores.files.pieces()) == 6
    assert paths(ask(found, Query(wanted=model.texts(["a dog"])), 99)) == [
        path for path, _ in plain(model, photos, ["a dog"])
    ]
    order = np.array([11, 0, 5, 5, 3])
    assert torch.equal(found.vectors.take(order), found.vectors.take(np.arange(12))[order])


def test_a_large_collection_gets_codes(monkeypatch, model, photos, fill, filled, capsys):
    pytest.importorskip("faiss")
    monkeypatch.setattr(module, "MANY", 50)
    for i in range(60):
        picture(photos / f"more{i}.png", 100 + i)
    fill()
    found = Collection(filled)
    assert found.shown.about["rows"] == 72
    assert found.codes is not None
    found.check()
    (path,) = (filled / "index").glob("*.safetensors")
    flip(path)
    found = Collection(filled)
    assert "made again from them" in capsys.readouterr().err
    assert found.codes is not None
    assert len(ask(found, Query(wanted=model.texts(["a dog"])), 5)) == 5
