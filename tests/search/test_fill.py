"""Collections are filled and filled again: only what is new is embedded, and a kill loses little."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_search import ToyModel, paths, picture, plain

from polyprompt.data.files import readable
from polyprompt.errors import ConfigError, DataError
from polyprompt.search.candidates import in_folder
from polyprompt.search.collection import Collection
from polyprompt.search.fill import in_cache, index
from polyprompt.search.query import Query, ask


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


KILLED = """
import json, os, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from toy_search import ToyModel
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


def test_files_have_the_mode_that_the_umask_gives(model, photos, tmp_path):
    before = os.umask(0)
    try:
        index(model, in_folder(photos), str(photos), tmp_path / "new")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert any(name.endswith(".sqlite") for name in modes)
    assert set(modes.values()) == {"0o666"}, modes
