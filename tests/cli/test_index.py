"""index, search and check from end to end."""

import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from safetensors.torch import save_file

import polyprompt as pp
from polyprompt.executors.slurm import run as run_slurm
from polyprompt.media.pictures import open_picture
from polyprompt.search import shards


@pytest.fixture
def collection(clip, photos, tmp_path, polyprompt):
    """The pictures, as an encoder of the zoo embeds them."""
    (photos / "bad.png").write_bytes(b"none")
    code, out, err = polyprompt("index", clip, photos, "--out", tmp_path / "collection", "--precision", "fp32")
    assert code == 0, err
    assert "24 new; 24 embedded, 1 unreadable" in out
    return tmp_path / "collection"


def test_index_search_and_check(collection, clip, photos, tmp_path, polyprompt):
    words = "search", collection, "a red square", "--top", 3
    code, out, err = polyprompt(*words, "--json", "--where", "name < '2'", "--grid", tmp_path / "grid.png")
    assert code == 0, err
    hits = [json.loads(line) for line in out.splitlines()]
    encoder = pp.load_encoder(str(clip))
    files = sorted(file for file in photos.glob("*.png") if file.name < "2")
    scores = (encoder.encode_image(files) @ encoder.encode_text(["a red square"])[0]).tolist()
    order = np.argsort(scores)[::-1]
    assert [hit["file"] for hit in hits] == [str(files[i]) for i in order[:3]]
    assert [hit["score"] for hit in hits] == pytest.approx([scores[i] for i in order[:3]], abs=1e-3)
    assert open_picture(tmp_path / "grid.png").width > 100
    code, out, err = polyprompt("search", collection, "--like", photos / "1.png", "--not", "blue", "--exact")
    assert code == 0, err
    assert "/1.png\n" not in out
    assert len(out.splitlines()) == 10
    for as_json in ([], ["--json"]):
        code, out, err = polyprompt(*words, "--where", "year > 2030", *as_json, "--grid", tmp_path / "grid.png")
        assert (code, out) == (0, "")
        assert err.endswith(f"polyprompt: {collection}: nothing found with --where 'year > 2030'.\n")
    code, out, _ = polyprompt("check", collection)
    assert code == 0
    assert "24 files, 24 rows; 0 gone; 1 unreadable" in out
    assert "bad.png: not a picture" in out


@pytest.mark.parametrize(("working", "shown"), [("photos", "{}"), (".", "photos/{}"), ("elsewhere", "{photos}/{}")])
def test_paths_are_shown_as_one_would_type_them(working, shown, collection, photos, tmp_path, polyprompt, cd):
    (tmp_path / "elsewhere").mkdir()
    cd(tmp_path / working)
    code, out, err = polyprompt("search", collection, "red", "--where", "name = '1.png'")
    assert code == 0, err
    assert out.split()[1:] == [shown.format("1.png", photos=photos)]


def test_what_cannot_be_asked(collection, clip, photos, tmp_path, polyprompt):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("")
    for words, message in {
        ("search", collection): "there is nothing to look for",
        ("search", clip, "red"): "is no collection. For a run say which pictures: --images FOLDER",
        ("search", collection, "red", "--images", photos): "leave --images out",
        ("search", collection, "red", "--aspect-weights", "1,2"): "this collection's rows have no parts",
        ("search", collection, "red", "--where", "yeer > 1"): "Did you mean 'year'?",
        ("search", collection, "--like", tmp_path / "none.png"): "none.png: ",
        ("check", photos): "no collection here",
        ("index", clip, photos / "none", "--out", tmp_path / "c"): "none: no such folder",
        ("index", clip, tmp_path / "empty", "--out", tmp_path / "c"): "empty: no pictures in it",
        ("index", clip, photos, "--out", tmp_path / "full"): "holds other things than a collection",
        ("index", clip, photos, "--out", photos / "new"): f"{photos}/new: lies among the pictures of {photos}",
    }.items():
        code, _, err = polyprompt(*words)
        assert (code, err.count("Traceback")) == (2, 0), words
        assert message in err.splitlines()[-1], err


@pytest.mark.parametrize("how", ["flipped", "deleted", "list"])
def test_damaged_rows_are_refused_in_one_line(how, collection, clip, photos, polyprompt):
    (piece,) = (collection / "rows").glob("*.safetensors")
    if how == "deleted":
        piece.unlink()
    else:
        damaged = piece if how == "flipped" else piece.with_name("pieces.json")
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
    for words in (
        ("search", collection, "red"),
        ("check", collection),
        ("index", clip, photos, "--out", collection, "--precision", "fp32"),
    ):
        code, out, err = polyprompt(*words)
        assert (code, out, err.count("Traceback")) == (2, "", 0), words
        assert "rows/" in err.splitlines()[-1]
        assert "Copy it again from where it came" in err.splitlines()[-1]


def test_an_index_that_is_gone_is_made_again(collection, polyprompt):
    first = polyprompt("search", collection, "red")
    shutil.rmtree(collection / "index")
    code, out, err = polyprompt("search", collection, "red")
    assert (code, out) == first[:2]
    assert "made again from them" in err


def test_a_model_that_has_changed_since(collection, maple, clip, photos, polyprompt):
    good = clip.read_bytes()
    try:
        save_file({name: 1.01 * tensor for name, tensor in maple.state.items()}, clip)
        code, _, err = polyprompt("search", collection, "red")
        assert (code, "is another model, or has changed" in err) == (2, True)
    finally:
        clip.write_bytes(good)


def test_a_runs_pictures_are_kept_and_a_damaged_cache_is_made_again(clip, photos, tmp_path, polyprompt):
    words = "search", clip, "a red square", "--images", photos
    first = polyprompt(*words)
    assert first[0] == 0, first
    (piece,) = (tmp_path / "cache").glob("collections/*/rows/*.safetensors")
    assert polyprompt(*words)[1] == first[1]
    piece.write_bytes(piece.read_bytes()[:-9])
    code, out, err = polyprompt(*words)
    assert (code, out) == (0, first[1])
    assert "set aside as" in err


def spread_as(start, monkeypatch):
    """Shards of three pictures; `start` stands in for the executor."""
    monkeypatch.setattr(shards, "SHARD", 3)
    monkeypatch.setattr(shards, "start", start)


def shown(collection, polyprompt):
    """What check says of a collection, its name aside; what it knows of each file, and how it scores them."""
    code, message, err = polyprompt("check", collection)
    assert code == 0, err
    code, out, err = polyprompt("search", collection, "a red square", "--top", 99, "--json", "--exact")
    assert code == 0, err
    hits = {hit["path"]: hit for hit in map(json.loads, out.splitlines())}
    scores = {path: hit.pop("score") for path, hit in hits.items()}
    return message.replace(str(collection), ""), hits, scores


def same(one, other, polyprompt):
    """Whether two collections tell the same; rows embedded in other company may differ in their last bits."""
    *known, scores = shown(one, polyprompt)
    *others, expected = shown(other, polyprompt)
    return known == others and scores == pytest.approx(expected, abs=1e-3)


def test_workers_fill_the_same_collection(collection, clip, photos, tmp_path, polyprompt, monkeypatch):
    spread_as(lambda executor, workers, job, what, watch: (job(what), watch()), monkeypatch)
    words = "index", clip, photos, "--precision", "fp32", "--out", tmp_path / "spread", "--workers", 2
    code, out, err = polyprompt(*words)
    assert (code, "24 new; 24 embedded, 1 unreadable" in out) == (0, True), err
    assert same(tmp_path / "spread", collection, polyprompt)
    (photos / "1.png").rename(photos / "moved.png")
    (photos / "2.png").unlink()
    for out in (
        polyprompt(*words)[1],
        polyprompt("index", clip, photos, "--out", collection, "--precision", "fp32")[1],
    ):
        assert "1 moved, 1 gone, 22 unchanged; 0 embedded, 1 unreadable" in out
    assert "23 files, 24 rows; 1 gone; 1 unreadable" in polyprompt("check", collection)[1]
    assert same(tmp_path / "spread", collection, polyprompt)
    assert not (tmp_path / "spread" / "work").exists()


def test_shards_that_are_left_are_told_and_done_next_time(clip, photos, tmp_path, polyprompt, monkeypatch):
    spread_as(lambda executor, workers, job, what, watch: None, monkeypatch)
    words = "index", clip, photos, "--precision", "fp32", "--out", tmp_path / "spread", "--workers", 2
    code, _, err = polyprompt(*words)
    assert (code, "8 of 8 shards were left; the same again goes on" in err) == (2, True)
    spread_as(lambda executor, workers, job, what, watch: job(what), monkeypatch)
    code, out, err = polyprompt(*words)
    assert (code, "24 new; 24 embedded" in out) == (0, True), err
    code, _, err = polyprompt(*words[:-2], "--executor", "moon")
    assert (code, "choose from local, ray, slurm" in err) == (2, True)


@pytest.mark.slow  # 3 minutes; Ray's workers take their time to start where others use the machine
@pytest.mark.timeout(900)
@pytest.mark.outside("process", "socket", "pickle", "import")
@pytest.mark.parametrize("executor", ["local", "ray", "slurm"])
def test_a_worker_is_killed_on_the_way(executor, collection, clip, photos, tmp_path, polyprompt, monkeypatch):
    """Two workers, by each executor; the first that has claimed a shard is killed. Slurm's is submitit's stand-in."""
    real, killed = shards.start, []

    def kill(place):
        while not killed:
            time.sleep(0.005)
            holders = [(path, json.loads(path.read_text() or "{}")) for path in place.glob("claims/*/1")]
            at_work = [
                holder["pid"]
                for path, holder in holders
                if holder and not (place / "done" / f"{path.parent.name}.json").exists()
            ]
            for worker in at_work[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    def start(executor, workers, job, what, watch):
        threading.Thread(target=kill, args=(what.parent,), daemon=True).start()
        if executor == "slurm":
            return run_slurm(workers, job, what, watch, cluster="local")
        return real(executor, workers, job, what, watch)

    spread_as(start, monkeypatch)
    words = (
        "index",
        clip,
        photos,
        "--precision",
        "fp32",
        "--out",
        tmp_path / "spread",
        "--workers",
        2,
        "--executor",
        executor,
    )
    code, out, err = polyprompt(*words)
    assert (code, "24 new; 24 embedded, 1 unreadable" in out, len(killed)) == (0, True, 1), err
    assert same(tmp_path / "spread", collection, polyprompt)
