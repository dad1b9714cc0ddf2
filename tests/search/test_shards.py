"""Workers share what is to be embedded: shards hold each file once, and each has one result, whoever makes it."""

import json
import os
import random
import shutil
from itertools import chain
from pathlib import Path

import pytest
from golden_cases import write_clip
from toy_search import paths, picture, plain

from polyprompt.data.files import readable
from polyprompt.data.items import Picture
from polyprompt.errors import ConfigError
from polyprompt.executors.claims import take
from polyprompt.search.candidates import Candidate, in_folder
from polyprompt.search.collection import Collection, Stores
from polyprompt.search.fill import index
from polyprompt.search.models import open_model
from polyprompt.search.query import Query, ask
from polyprompt.search.shards import SHARD, Opened, Spread, work


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A toy CLIP in a file: workers open what they embed with."""
    return str(write_clip(tmp_path_factory.mktemp("clip") / "toy.safetensors"))


@pytest.fixture
def collection(clip, tmp_path):
    """Two pictures that are embedded already; three more lie beside them."""
    for number in range(2):
        picture(tmp_path / "photos" / f"{number}.png", number)
    index(open_model(clip), in_folder(tmp_path / "photos"), str(tmp_path / "photos"), tmp_path / "collection")
    for number in range(2, 5):
        picture(tmp_path / "photos" / f"{number}.png", number)
    return tmp_path / "collection"


@pytest.fixture
def planned(clip, collection):
    """The plan that workers get for some files, where none of them has begun."""

    def plan(todo, gone=(), workers=0):
        spread = Spread(executor="local", workers=workers, opened=Opened(clip, None, {}, "fp32"))
        with pytest.raises(ConfigError, match="workers is 0; give 1 or more"):
            spread(todo, gone, open_model(clip).fingerprint, Stores(collection))
        return collection / "work" / "plan.json"

    return plan


def split(plan, *shards):
    """The same plan with its files in other shards."""
    files = {file[0]: file for file in json.loads((plan.parent / "0.json").read_text())}
    for number, names in enumerate(shards):
        (plan.parent / f"{number}.json").write_text(json.dumps([files[name] for name in names]))
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"shards": len(shards)}))


def results(plan):
    return {path.stem: json.loads(path.read_text()) for path in (plan.parent / "done").glob("*.json")}


def test_shards_hold_each_file_once_in_order_however_many_there_are(planned, collection):
    (collection / "work" / "done").mkdir(parents=True)
    for name in ("7.json", "done/0.json"):  # of a run that was killed
        (collection / "work" / name).write_text("[]")
    for count in (0, 1, SHARD, 2 * SHARD + 1):
        names = [f"{number}.png" for number in range(count)]
        todo = [Candidate(name, 1, -1, Picture(name, bytes), Path("/photos") / name) for name in names]
        plan = planned(todo, gone=["old.png"])
        about = json.loads(plan.read_text())
        shards = [json.loads((plan.parent / f"{number}.json").read_text()) for number in range(about["shards"])]
        assert [name for name, *_ in chain(*shards)] == names
        assert all(0 < len(shard) <= SHARD for shard in shards)
        assert len(shards) == len(range(0, count, 512))
        assert (about["gone"], len(about["log"]), results(plan)) == (["old.png"], 1, {})
        assert not (plan.parent / "7.json").exists()


def test_a_worker_embeds_all_shards_as_one_process_would(planned, collection, clip, tmp_path):
    photos = tmp_path / "photos"
    shutil.copy(photos / "0.png", photos / "copy.png")
    expected = dict(plain(open_model(clip), photos, ["a dog"]))
    (photos / "bad.png").write_bytes(b"no picture")
    os.rename(picture(photos / "odd.png", 9), os.fsencode(photos) + b"/caf\xe9.png")
    todo = [one for one in in_folder(photos) if one.path not in ("0.png", "1.png")]
    plan = planned(todo)
    names = [one.path for one in todo]
    random.Random(0).shuffle(names)
    split(plan, names[:3], names[3:4], names[4:])
    work(plan)
    found = results(plan)
    assert sorted(found) == ["0", "1", "2"]
    counts = {kind: sum(one["counts"].get(kind, 0) for one in found.values()) for kind in ("new", "copied", "embedded")}
    assert counts == {"new": 4, "copied": 1, "embedded": 4}
    assert [bad[0] for one in found.values() for bad in one["bad"]] == ["bad.png"]
    shutil.rmtree(plan.parent)
    model = open_model(clip)
    done = index(model, in_folder(photos), str(photos), collection)
    assert str(done) == "7 unchanged; 0 embedded, 1 unreadable"  # all is known
    hits = ask(Collection(collection), Query(wanted=model.texts(["a dog"])), 99)
    assert {readable(path) for path in paths(hits)} == {readable(one.path) for one in in_folder(photos)} - {"bad.png"}
    scores = {str(file.facts["path"]): hit.score for hit in hits for file in hit.files}
    ascii_names = {name: score for name, score in expected.items() if name.isascii()}
    assert {name: scores[name] for name in ascii_names} == pytest.approx(ascii_names, abs=1e-3)


def test_a_shard_that_has_a_result_is_left_alone(planned, collection, tmp_path):
    plan = planned([one for one in in_folder(tmp_path / "photos") if one.path > "1.png"])
    split(plan, ["2.png"], ["3.png", "4.png"])
    (plan.parent / "done" / "1.json").write_text('"of another worker"')
    work(plan)
    assert (results(plan)["0"]["counts"], results(plan)["1"]) == ({"new": 1, "embedded": 1}, "of another worker")
    assert set(Stores(collection).latest()) == {"0.png", "1.png", "2.png"}
    work(plan)  # all have one
    assert set(Stores(collection).latest()) == {"0.png", "1.png", "2.png"}


def test_what_another_worker_has_written_and_not_told_is_kept_once(planned, collection, tmp_path):
    """A worker was killed after its rows and before its result: the shard counts as if it had not begun."""
    plan = planned([one for one in in_folder(tmp_path / "photos") if one.path > "1.png"])
    work(plan)
    first = results(plan)
    (plan.parent / "done" / "0.json").unlink()
    claim = take(plan.parent / "claims" / "0")
    assert claim is not None
    claim.give_back()
    work(plan)
    assert results(plan) == first
    assert first["0"]["counts"] == {"new": 3, "embedded": 3}
    assert len(Stores(collection).rows) == 5


def test_another_model_than_the_collections_is_refused(planned, tmp_path):
    plan = planned(in_folder(tmp_path / "photos"))
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"fingerprint": "of another"}))
    with pytest.raises(
        ConfigError, match=r"collection: was made with .*toy.safetensors \(of another\), and .* another"
    ):
        work(plan)
    assert results(plan) == {}
