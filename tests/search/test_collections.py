"""Collections against a plain list of vectors: filled, killed, changed, damaged, asked with every kind of question."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from polyprompt.data.files import readable
from polyprompt.errors import ConfigError, DataError, FileError
from polyprompt.media.pictures import Preprocess, open_picture
from polyprompt.search import collection as module
from polyprompt.search import items
from polyprompt.search.candidates import in_folder
from polyprompt.search.collection import About, Collection, Stores, write_about
from polyprompt.search.fill import Work, in_cache, index
from polyprompt.search.query import Query, as_object, ask, row_of_picture


class ToyModel:
    """A picture's row is its pixels, a text's is drawn by its letters; two aspects."""

    name, prompts, frames = "toy", ("colour", "form"), 2
    precision = "fp32"

    def __init__(self, seed: int = 0) -> None:
        self.fingerprint, self.calls = f"toy {seed}", 0
        self.map = torch.randn(3 * 4 * 4, 8, generator=torch.Generator().manual_seed(seed))
        self.preprocess = Preprocess(4, (0.5,) * 3, (0.5,) * 3)

    def images(self, pixels):
        self.calls += len(pixels)
        return F.normalize(pixels.flatten(1) @ self.map, dim=-1)

    def texts(self, texts):
        draws = [torch.Generator().manual_seed(sum(text.encode())) for text in texts]
        return F.normalize(torch.stack([torch.randn(8, generator=draw) for draw in draws]), dim=-1)


def picture(path: Path, seed: int, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def model():
    return ToyModel()


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures in three folders."""
    for i in range(12):
        picture(tmp_path / "photos" / "abc"[i % 3] / f"{i}.png", i)
    return tmp_path / "photos"


@pytest.fixture
def fill(model, photos, tmp_path):
    def again(root=photos, model=model, out=tmp_path / "collection"):
        return index(model, in_folder(root), str(root), out)

    return again


@pytest.fixture
def filled(fill, tmp_path):
    fill()
    return tmp_path / "collection"


def plain(model, photos, texts, top=99):
    """Every picture and its cosine with the first text, best first."""
    files = sorted(photos.rglob("*.png"))
    rows = model.images(torch.stack([model.preprocess(open_picture(file)) for file in files]))
    scores = (rows @ model.texts(texts)[0]).tolist()
    names = [str(file.relative_to(photos)) for file in files]
    return sorted(zip(names, scores, strict=True), key=lambda one: -one[1])[:top]


def paths(hits):
    return [str(file.facts["path"]) for hit in hits for file in hit.files]


@pytest.mark.parametrize("library", ["torch", "pillow"])
def test_what_another_major_of_a_library_left_in_the_cache_is_not_asked(model, photos, cache, installed, library):
    found = [in_cache(model, in_folder(photos), str(photos)) for _ in range(2)]
    assert [(place, done.counts["embedded"]) for place, done in found] == [(found[0][0], 12), (found[0][0], 0)]
    installed(**{library: "99.1"})
    place, done = in_cache(model, in_folder(photos), str(photos))
    assert (place != found[0][0], done.counts["embedded"]) == (True, 12)


def test_what_a_search_has_kept_in_the_cache_is_not_embedded_again(model, photos, fill, cache, tmp_path, capsys):
    place, _ = in_cache(model, in_folder(photos), str(photos))
    picture(photos / "new.png", 99)
    assert str(fill()) == "1 new, 12 unchanged; 1 embedded, 0 unreadable"
    assert "begins with what a search of these pictures has kept in the cache" in capsys.readouterr().err
    found, query = Collection(tmp_path / "collection"), Query(wanted=model.texts(["a dog"]))
    found.check()
    assert paths(ask(found, query, 99)) == [path for path, _ in plain(model, photos, ["a dog"])]
    assert {path.name for path in found.folder.iterdir()} == {path.name for path in place.iterdir()}
    everything = "13 new; 13 embedded, 0 unreadable"
    assert str(fill(model=ToyModel(1), out=tmp_path / "of another model")) == everything
    (piece,) = (place / "rows").glob("*.safetensors")
    piece.write_bytes(piece.read_bytes()[:-1] + b"x")
    assert str(fill(out=tmp_path / "of a damaged cache")) == everything
    assert sorted(os.listdir(tmp_path)) == ["cache", "collection", "of a damaged cache", "of another model", "photos"]


def test_a_row_that_the_log_does_not_name_yet_lacks_nothing(model, photos, filled):
    """As a kill or a full disk leaves it: rows come first, thumbnails and the log behind them."""
    before = paths(ask(Collection(filled), Query(wanted=model.texts(["a dog"])), 99))
    Stores(filled).rows.append(["new"], [torch.ones(1, 8)])
    found = Collection(filled)
    found.check()
    assert paths(ask(found, Query(wanted=model.texts(["a dog"])), 99)) == before


# What is found


def test_hits_are_those_of_a_plain_list(model, photos, filled):
    found = Collection(filled)
    hits = ask(found, Query(wanted=model.texts(["a dog"])), 5)
    expected = plain(model, photos, ["a dog"], 5)
    assert paths(hits) == [path for path, _ in expected]
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=2e-3)  # fp16
    assert [sum(hit.parts) for hit in hits] == pytest.approx([hit.score for hit in hits], abs=1e-5)
    facts = as_object(found, hits[0])
    assert (facts["width"], facts["height"], facts["kind"], facts["ending"]) == (8, 8, "picture", ".png")
    assert list(facts["aspects"]) == ["colour", "form"]
    json.dumps(facts)
    assert open_picture(found.thumbnail(hits[0].row)).size == (8, 8)
    assert found.place(hits[0].files[0]).is_file()


def test_weights_scale_the_segments(model, filled):
    found = Collection(filled)
    text = model.texts(["a dog"])
    hits = ask(found, Query(wanted=text, weights=[0.0, 2.0]), 99)
    rows = found.vectors.take(np.arange(len(found)))
    slow = sorted((float(2 * (rows[i, 4:] @ text[0, 4:])), i) for i in range(len(found)))[::-1]
    assert [hit.row for hit in hits] == [row for _, row in slow]
    for weights in ([1.0], [1.0, 2.0, 3.0], [1.0, float("inf")]):
        with pytest.raises(ConfigError, match="aspect weights"):
            ask(found, Query(wanted=text, weights=weights), 3)


def test_pictures_texts_and_what_is_not_wanted(model, photos, filled):
    found = Collection(filled)
    own, place = row_of_picture(model, found, (photos / "a" / "0.png").read_bytes())
    assert paths(ask(found, Query(wanted=own[None]), 1)) == ["a/0.png"]
    assert "a/0.png" not in paths(ask(found, Query(wanted=own[None], without=frozenset({place})), 99))
    other, nowhere = row_of_picture(model, found, picture(photos.parent / "x.png", 0, compress_level=0).read_bytes())
    assert nowhere is None
    assert float(other @ own) > 0.999
    text, away = model.texts(["a dog"]), model.texts(["a cat"])
    query = Query(wanted=torch.cat([text, own[None]]), unwanted=away)
    vector = F.normalize((text[0] + own) / 2 - 0.5 * away[0], dim=-1)
    rows = found.vectors.take(np.arange(len(found)))
    assert [hit.row for hit in ask(found, query, 99)] == (rows @ vector).argsort(descending=True).tolist()


def test_equal_content_is_one_hit_and_near_ones_fold(model, photos, fill, filled):
    shutil.copy(photos / "a" / "0.png", photos / "c" / "copy.png")
    near = Image.open(photos / "a" / "0.png").convert("RGB")
    near.putpixel((0, 0), (0, 0, 0))
    near.save(photos / "c" / "near.png")
    assert "1 copied" in str(done := fill())
    assert done.counts["embedded"] == 1
    found = Collection(filled)
    own, _ = row_of_picture(model, found, (photos / "a" / "0.png").read_bytes())
    first, second = ask(found, Query(wanted=own[None]), 2)
    assert (paths([first]), paths([second])) == (["a/0.png", "c/copy.png"], ["c/near.png"])
    hits = ask(found, Query(wanted=own[None], fold=second.score - 0.001), 12)
    assert hits[0].near == (second.row,)
    assert paths(hits)[:2] == ["a/0.png", "c/copy.png"]


# Filters


def test_a_filter_keeps_what_sql_keeps(model, photos, filled):
    found = Collection(filled)
    everything = paths(ask(found, Query(wanted=model.texts(["a dog"])), 99))
    for where, keeps in {
        "path like 'a/%'": lambda path: path.startswith("a/"),
        "folder = 'b' or name = '2.png'": lambda path: path.startswith("b/") or path.endswith("/2.png"),
        "not (width > 100) and ending in ('.png')": lambda path: True,
        "year >= 2020 and kind = 'picture' -- all": lambda path: True,
        "size < 0": lambda path: False,
    }.items():
        hits = ask(found, Query(wanted=model.texts(["a dog"]), where=where), 99)
        assert paths(hits) == [path for path in everything if keeps(path)], where


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("yeer > 3", "Did you mean 'year'"),
        ("year >", "syntax error"),
        ("", "is empty"),
        ("x" * 3000, "3,000 letters"),
        ("1) union select 1 from files where (1", "plain functions"),
        ("row in (select row from bad)", "plain functions"),
        ("exists (select 1 from files)", "plain functions"),
        ("load_extension('x')", "plain functions"),
        ("randomblob(9) is null", "plain functions"),
        ("raw is null", "plain functions"),
        ("1); drop table files; --", "one statement"),
        ("path match 'x'", "Write a condition"),
        ("a\0b", "Write a condition"),
        ("path = '\udce9'", "Write a condition"),
    ],
)
def test_a_filter_that_cannot_be(where, message, filled):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")) as error:
        Collection(filled).items.where(where)
    assert "\n" not in str(error.value)


# Filled again


def test_only_what_is_new_or_changed_is_embedded(model, photos, fill, filled):
    assert (model.calls, len(Collection(filled))) == (12, 12)
    assert str(fill()) == "12 unchanged; 0 embedded, 0 unreadable"
    picture(photos / "new.png", 99)
    picture(photos / "a" / "0.png", 98)
    (photos / "a" / "3.png").rename(photos / "moved.png")
    (photos / "b" / "1.png").unlink()
    done = fill()
    assert str(done) == "1 new, 1 changed, 1 moved, 1 gone, 9 unchanged; 2 embedded, 0 unreadable"
    assert model.calls == 14
    found = Collection(filled)
    assert sorted(paths(ask(found, Query(wanted=model.texts(["x"])), 99))) == sorted(
        str(path.relative_to(photos)) for path in photos.rglob("*.png")
    )
    assert found.items.counts() == {"files": 12, "bad": 0, "gone": 1}
    picture(photos / "b" / "1.png", 1)  # back again
    assert fill().counts["embedded"] == 0


def test_what_cannot_be_read_is_listed_and_tried_again(photos, fill, filled, capsys):
    (photos / "a" / "0.png").write_bytes(b"no picture")
    (photos / "empty.png").write_bytes(b"")
    done = fill()
    assert [path for path, _ in done.bad] == ["a/0.png", "empty.png"]
    assert "empty.png: the file is empty" in capsys.readouterr().err
    assert Collection(filled).items.bad() == [
        ("a/0.png", done.bad[0][1]),
        ("empty.png", "the file is empty (0 bytes)"),
    ]
    picture(photos / "empty.png", 5)
    assert [path for path, _ in fill().bad] == ["a/0.png"]


def test_what_has_gone_is_counted_alike_by_the_pass_and_by_the_collection(photos, fill, filled):
    """A moved file has not gone, nor has one that could never be read; of two copies that become one, one has."""
    shutil.copy(photos / "a" / "0.png", photos / "copy.png")
    (photos / "bad.png").write_bytes(b"no picture")
    fill()
    (photos / "a" / "0.png").rename(photos / "one.png")
    (photos / "copy.png").unlink()
    (photos / "a" / "3.png").rename(photos / "moved.png")
    (photos / "bad.png").unlink()
    assert str(fill()) == "2 moved, 1 gone, 10 unchanged; 0 embedded, 0 unreadable"
    assert Collection(filled).items.counts() == {"files": 12, "bad": 0, "gone": 1}
    (photos / "moved.png").rename(photos / "a" / "3.png")
    (photos / "one.png").unlink()
    assert str(fill()) == "1 moved, 1 gone, 10 unchanged; 0 embedded, 0 unreadable"
    assert Collection(filled).items.counts() == {"files": 11, "bad": 0, "gone": 2}


def test_links_are_followed_and_told(model, photos, fill, tmp_path, capsys):
    picture(tmp_path / "elsewhere" / "far.png", 50)
    (photos / "out").symlink_to(tmp_path / "elsewhere")
    (photos / "a" / "loop").symlink_to(photos)
    (photos / "b" / "broken.png").symlink_to(photos / "none.png")
    os.mkfifo(photos / "b" / "pipe.png")
    picture(photos / ".hidden" / "h.png", 51)
    hidden_root = tmp_path / ".photos"
    shutil.copytree(photos, hidden_root, symlinks=True, ignore=shutil.ignore_patterns("pipe.png", "loop"))
    fill()
    err = capsys.readouterr().err
    assert "a/loop: a link back to a folder that it lies in" in err
    assert "1 link that lead out of it were followed: out" in err
    found = Collection(tmp_path / "collection")
    assert "out/far.png" in paths(ask(found, Query(wanted=model.texts(["x"])), 99))
    assert len(found) == 13
    fill(hidden_root, out=tmp_path / "other")
    assert len(Collection(tmp_path / "other")) == 13


def test_a_name_that_is_not_utf_8(model, photos, fill, filled):
    os.rename(photos / "a" / "0.png", os.fsencode(photos) + b"/caf\xe9.png")
    assert "1 moved" in str(fill())
    found = Collection(filled)
    (hit,) = [hit for hit in ask(found, Query(wanted=model.texts(["x"])), 99) if "caf" in paths([hit])[0]]
    assert paths([hit]) == [readable(os.fsdecode(b"caf\xe9.png"))]
    assert found.place(hit.files[0]).is_file()


def test_a_folder_that_has_moved_and_one_that_is_another(photos, fill, filled, tmp_path, capsys):
    shutil.copytree(photos, tmp_path / "other")
    with pytest.raises(ConfigError, match=r"is a collection of .*photos; choose another folder"):
        fill(tmp_path / "other")
    shutil.rmtree(photos)
    assert "12 unchanged" in str(fill(tmp_path / "other"))
    assert "lie in" in capsys.readouterr().err
    with pytest.raises(DataError, match="no pictures in it"):
        fill(filled)
    with pytest.raises(ConfigError, match="holds other things than a collection"):
        fill(tmp_path / "other", out=tmp_path / "other" / "a")


def test_another_model_is_refused(fill, filled):
    with pytest.raises(ConfigError, match=r"was made with toy \(toy 0\), and toy is another model"):
        fill(model=ToyModel(1))


# Damage


def flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


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


@pytest.mark.parametrize("left", [0, 1000, 5000])
def test_an_index_that_is_cut_while_it_is_asked_is_one_line(left, model, filled):
    found = Collection(filled)
    os.truncate(found.items.path, left)
    for asked in (
        found.items.counts,
        found.items.rows,
        found.items.bad,
        lambda: found.items.of_rows([0]),
        lambda: found.items.where("year > 3"),  # it is no fault of the condition
    ):
        with pytest.raises(FileError, match=r"\.sqlite: cannot be read \(.*open the collection again") as error:
            asked()
        assert "\n" not in str(error.value)


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


@pytest.mark.parametrize("how", ["flip", "gone", "cut", "folder"])
def test_a_damaged_index_is_made_again(how, model, filled, capsys):
    before = paths(ask(Collection(filled), Query(wanted=model.texts(["x"])), 99))
    (base,) = (filled / "index").glob("*.sqlite")
    {
        "flip": lambda: flip(base),
        "gone": base.unlink,
        "cut": lambda: (filled / "index" / "index.json").write_text("{"),
        "folder": lambda: shutil.rmtree(filled / "index"),
    }[how]()
    assert paths(ask(Collection(filled), Query(wanted=model.texts(["x"])), 99)) == before
    assert "made again from them" in capsys.readouterr().err
    Collection(filled).check()


def test_no_collection(tmp_path):
    with pytest.raises(FileError, match="no collection here"):
        Collection(tmp_path)


KILLED = """
import json, os, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from test_collections import ToyModel
from polyprompt.disk import files, pieces, rows
from polyprompt.search import candidates, fill
candidates.BATCH, fill.PIECE_BYTES = 2, 1
model, root, writes = ToyModel(), Path({root!r}), 0
def counted(write, last):
    def call(*arguments, **options):
        global writes
        writes += 1
        if writes == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(*arguments, **options)
    return call
def index(out, last):
    rows.write_piece, rows.write_json = counted(rows.write_piece, last), counted(rows.write_json, last)
    fill.index(model, candidates.in_folder(root), str(root), Path(out))
ended = []
for out, last in {kills!r}:
    if (child := os.fork()) == 0:
        index(out, last)
        os._exit(0)
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(ended))
"""


@pytest.mark.outside("process")
@pytest.mark.slow
def test_fifty_kills_lose_little_and_break_nothing(model, photos, fill, filled, tmp_path):
    """Ten collections, each killed in five runs one after the other, at any of their writes; then they are filled."""
    draw = random.Random(0)
    kills = [(str(tmp_path / f"killed {number}"), draw.randint(1, 12)) for number in range(10) for _ in range(5)]
    code = KILLED.format(path=[str(Path(__file__).parent), *sys.path], root=str(photos), kills=kills)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    codes = json.loads(ended.stdout)
    assert set(codes) <= {0, -signal.SIGKILL}
    assert codes.count(-signal.SIGKILL) >= 30, "a run after which nothing is left ends by itself"
    expected = rows_of(filled)
    for out in dict.fromkeys(out for out, _ in kills):
        fill(out=Path(out))
        Collection(out).check()
        assert rows_of(out).keys() == expected.keys()
        for path, row in rows_of(out).items():
            torch.testing.assert_close(row, expected[path], rtol=0, atol=1e-3)  # in other batches


def rows_of(folder):
    """The row of each file."""
    found = Collection(folder)
    files = [file for some in found.items.of_rows(range(len(found))).values() for file in some]
    return {file.raw: found.vectors.take(np.array([file.row]))[0] for file in files}


def test_what_a_killed_process_left_is_swept_and_filled_up(model, photos, fill, tmp_path):
    """Killed before its head was whole: the folder holds a temporary file and nothing else."""
    out = tmp_path / "collection"
    out.mkdir()
    (out / ".collection.json.0123456789ab.tmp").write_text("{")
    fill()
    (out / "rows" / ".pieces.json.0123456789ab.tmp").write_text("{")
    picture(photos / "more.png", 60)
    fill()
    assert len(Collection(out)) == 13
    assert not list(out.rglob("*.tmp"))


def test_a_full_disk_while_the_index_is_made_is_one_line(filled, monkeypatch):
    def full(path):
        base = sqlite3.connect(path, isolation_level=None)
        base.execute("PRAGMA max_page_count = 1")
        return base

    monkeypatch.setattr(items, "_new", full)
    shutil.rmtree(filled / "index")
    with pytest.raises(FileError, match=r"cannot be written \(database or disk is full\)\. Free some room"):
        Collection(filled)
    assert not list((filled / "index").glob("*.new"))


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


def test_files_have_the_mode_that_the_umask_gives(model, photos, tmp_path):
    before = os.umask(0)
    try:
        index(model, in_folder(photos), str(photos), tmp_path / "new")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert any(name.endswith(".sqlite") for name in modes)
    assert set(modes.values()) == {"0o666"}, modes
