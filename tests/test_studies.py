"""The page of results says what the kept runs say, and the studies' settings are ones that `align` and `adapt` take."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest
import torch
from test_composition import learns
from test_contract import trainable
from toy_encoders import NAMES, toy_model
from toy_place import toy_place

from polyprompt.adapt.descriptions import read_descriptions
from polyprompt.adapt.engine import build
from polyprompt.campe.encoder import CampeEncoder
from polyprompt.disk.files import read_json, write_json
from polyprompt.disk.sealed import write_sealed
from polyprompt.methods import config_of
from polyprompt.runs.align import AlignSettings
from polyprompt.runs.folder import read_results
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import checked

STUDIES = Path(__file__).parents[1] / "studies"


@pytest.fixture
def study(import_from):
    """Imports a study by its name, as it finds the others that lie beside it."""
    yield from imported(STUDIES, import_from)


@pytest.fixture
def fresh_study(tmp_path, import_from):
    """The same, from a copy of all studies that has no results yet."""
    copy = shutil.copytree(STUDIES, tmp_path / "studies", ignore=shutil.ignore_patterns("results", "__pycache__"))
    yield from imported(copy, import_from)


def imported(folder, import_from):
    import_from(str(folder))
    yield importlib.import_module
    for path in folder.glob("*.py"):  # the benchmarks have a page, too
        sys.modules.pop(path.stem, None)


def test_the_page_of_results_is_what_its_program_writes(study):
    page = study("page")
    assert page.PAGE.read_text() == page.page()


def test_kept_results_are_sealed(study, tmp_path, capsys):
    """As they were kept; what a study notes in them comes with another seal, not with the run's own."""
    kept = study("kept")
    for run in kept.runs():
        if "kind" in read_json(run / "results.json"):
            read_results(run)
    assert capsys.readouterr().err == ""
    write_sealed(tmp_path / "results.json", {"command": "polyprompt align", "seed": 0}, beside=["log.jsonl"])
    (tmp_path / "log.jsonl").write_text("{}")
    kept.keep(tmp_path / "results.json", read_json(tmp_path / "results.json") | {"command": "python studies/x.py"})
    assert read_results(tmp_path) == {"command": "python studies/x.py", "seed": 0}


def test_every_variant_has_settings_that_align_takes(study):
    flickr8k = study("flickr8k")
    parts = [*flickr8k.READOUTS.values(), *flickr8k.BASELINES.values(), *flickr8k.ABLATIONS.values()]
    settings = [checked(AlignSettings, flickr8k.merged(flickr8k.COMMON, part)) for part in parts]
    assert all(one.image.queries == 6 and one.image.new_blocks == 2 for one in settings)


def test_parts_stand_on_one_another_and_the_best_setting_is_all_of_them(study):
    flickr8k = study("flickr8k")
    best = checked(AlignSettings, flickr8k.merged(flickr8k.COMMON, flickr8k.at_best(flickr8k.READOUTS["last"])))
    assert (best.epochs, best.loss.scale, best.loss.diversity, best.text.readout) == (12, 20.0, 1.0, "last")
    for part in flickr8k.BESIDE.values():
        beside = checked(AlignSettings, flickr8k.merged(flickr8k.merged(flickr8k.COMMON, flickr8k.at_best({})), part))
        assert (beside.epochs, beside.loss, beside.image.queries) == (12, best.loss, 6)


@pytest.mark.parametrize(
    ("best", "tried"), [(2.0, [1, 2, 4]), (1.0, [1, 2, 4, 0.5]), (4.0, [1, 2, 4, 8]), (16.0, [1, 2, 4, 8, 16, 32])]
)
def test_rates_go_on_where_the_best_is_at_an_end(study, best, tried):
    tuning, done = study("tuning"), []
    tuning.try_rates(done.append, lambda: min(done, key=lambda rate: abs(rate - best)), (1.0, 2.0, 4.0), 2)
    assert done == tried


def test_the_best_of_equal_settings_is_the_slowest(study, tmp_path):
    for name, rate, share in (("a", 0.5, 0.3), ("b", 0.1, 0.3), ("c", 0.2, 0.1)):
        (tmp_path / name).mkdir()
        found = {"retrieval": {"dev": {way: {"recall@1": share} for way in ("image_to_text", "text_to_image")}}}
        write_json(tmp_path / name / "results.json", found | {"config": {"rate": rate}})
    tuning = study("tuning")
    assert tuning.best_settings(tmp_path, tuning.mean_recall) == {"rate": 0.1}


def test_defaults_that_are_no_more_are_told(study):
    earlier = study("kept").earlier
    old = {"name": "last", "config": {"loss": {"contrast": "sigmoid"}}}
    now = {"name": "mean", "config": checked(AlignSettings, {"data": "x"}).model_dump()}
    assert earlier([now, {}]) == []
    (message,) = earlier([now, old])
    assert message.startswith("*In part (last) made under earlier defaults: ")
    assert earlier([old])[0].startswith("*Made under earlier defaults: ")
    assert "rate of the towers" in message
    assert "scale 10 and bias -10" in message
    assert "bias" not in earlier([{"config": {"loss": {"contrast": "softmax"}}}])[0]


def test_every_readout_of_sentences_has_settings_that_align_takes(study):
    sts = study("sts")
    parts = [checked(AlignSettings, sts.COMMON | {"text": text}) for text in sts.READOUTS.values()]
    assert [one.text.readout for one in parts] == ["prompts", "prompts", "last", "mean"]


def test_clips_go_on_from_the_pictures_settings(study):
    flickr8k, msrvtt = study("flickr8k"), study("msrvtt")
    for name in msrvtt.READOUTS:
        before = checked(AlignSettings, flickr8k.merged(flickr8k.COMMON, flickr8k.READOUTS[name])).model_dump()
        now = checked(AlignSettings, msrvtt.settings_of(before, name, 1, rate=1e-4))
        assert (now.image.queries, now.image.new_blocks, now.image.frames) == (6, 2, 6)
        assert now.text.model_dump() == before["text"]
        assert (now.seed, now.rate, now.start_from) == (1, 1e-4, f"runs/flickr8k/best/final/{name}/1")


def test_weights_of_aspects_count_what_they_gain_and_lose(study):
    aspects = study("aspect_weights")
    equal = torch.tensor([[2.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0]])
    weighted = torch.tensor([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])
    assert aspects.compared(equal, weighted, torch.tensor([0, 1, 1, 0])) == {
        "equal": 0.5,
        "weighted": 0.5,
        "gained": 1,
        "lost": 1,
        "pictures": 4,
    }


def test_every_method_of_the_grids_runs_on_such_an_encoder(study):
    """30 blocks of text and two of images, all tiny."""
    grids, encoder = study("grids"), CampeEncoder(toy_model(text_blocks=30, image_blocks=2), "toy")
    sentences = {"descriptions": {"{}": ("one {}.", "a red {}.")}}
    described = {name: grids.SLOWER[name] | sentences for name in grids.DESCRIBED}
    narrow = {"cocoop": grids.SLOWER["cocoop"] | {"reduction": 4}}  # of 24 numbers a sixteenth is one
    for name, settings in (grids.METHODS | grids.SLOWER | described | narrow).items():
        values = {"name": name} | settings
        config = checked(config_of(values.pop("name")), values)
        learns(trainable(build(config, encoder, NAMES, seed=1)))


@pytest.mark.parametrize(("name", "classes"), [("eurosat", 10), ("caltech101", 20)])
def test_every_class_has_sentences_of_its_own(study, name, classes):
    found = read_descriptions(str(STUDIES / "descriptions" / f"{name}.json"))
    sentences = [one for of_class in found.values() for one in of_class]
    assert len(found) == classes
    assert len(set(sentences)) == len(sentences)


def test_tasks_together_and_each_alone_learn_alike(study):
    tasks = study("tasks")
    sets = [tasks.DOMAINS, *([domain] for domain in tasks.DOMAINS)]
    runs = [checked(AdaptSettings, {"name": ""} | tasks.values(*some, rate=0.5)) for some in sets]
    assert [[one.data, *one.task] for one in runs] == sets
    assert len({one.model_dump_json(exclude={"data", "task"}) for one in runs}) == 1
    assert {one.rate for one in runs} == {0.5}


@pytest.mark.parametrize(
    ("found", "more"),
    [
        ({5.0: 0.3, 50.0: 0.4, 500.0: 0.2}, ()),
        ({5.0: 0.4, 50.0: 0.3, 500.0: 0.2}, (0.5,)),
        ({5.0: 0.2, 50.0: 0.3, 500.0: 0.4}, (5000.0,)),
        ({0.5: 0.4, 5.0: 0.4, 50.0: 0.3}, ()),
    ],
)
def test_rates_of_grids_go_on_beyond_an_end_that_is_the_best(study, found, more):
    assert study("grids").beyond(found) == more


@pytest.mark.parametrize(("gap", "verdict"), [(9.0, "above"), (1.0, "within the spread"), (-9.0, "below")])
def test_a_gap_counts_if_it_is_beyond_both_spreads(fresh_study, gap, verdict):
    page = fresh_study("page")
    for name, level in (("prompts-6", 40.0 + gap), ("last", 40.0)):
        for seed, off in enumerate((-1.0, 0.0, 1.0)):
            folder = page.RESULTS / "flickr8k" / "final" / name / str(seed)
            folder.mkdir(parents=True)
            found = {way: {"recall@1": (level + off) / 100} for way in page.DIRECTIONS}
            write_json(folder / "results.json", {"retrieval": {"test": found}})
    (line,) = page.verdicts("final")
    assert line.startswith("- against the last token: ")
    assert line.count(f"{gap:+.1f} ({verdict})") == 2
    assert f"Beyond the spread in {2 if verdict == 'above' else 0} of 2 figures." in line


@pytest.mark.slow
def test_the_parts_and_the_best_setting_on_toys(fresh_study, tmp_path, started_as, monkeypatch):
    """Towers and pictures are toys; every run, table and claim of both stages is made."""
    flickr8k, page = fresh_study("flickr8k"), fresh_study("page")
    with toy_place(tmp_path):
        for number, folder in enumerate(("flickr8k", "msrvtt")):
            shutil.copytree("photos", f"data/{folder}/images")
            (tmp_path / f"data/{folder}/images/captions.csv").unlink()
            lines = [f"{i}.png\t0\tan animal, number {i}\t{'dev' if i % 4 == 3 else 'train'}" for i in range(16)]
            lines = [("images/" * number) + line for line in lines]
            Path(f"data/{folder}/captions.tsv").write_text("\n".join(["file\tcaption_index\tcaption\tsplit", *lines]))
        shrunk = {
            "batch": 4,
            "precision": "fp32",
            "dim": 12,
            "text": {"depth": 3},
            "image": {"queries": 6, "new_blocks": 1, "width": 16},
        }
        toys = {
            "COMMON": flickr8k.COMMON | shrunk,
            "SEEDS": (0, 1),
            "READOUTS": {name: flickr8k.READOUTS[name] for name in ("prompts-6", "last")},
            "tried": lambda folder, part: flickr8k.at_rate(folder, part, 1e-3),
        }
        for name, toy in toys.items():
            monkeypatch.setattr(flickr8k, name, toy)
        started_as("studies/flickr8k.py", "toys")
        for stage in (flickr8k.tune, flickr8k.parts):
            stage()
        with_test = Path("data/flickr8k/captions.tsv").read_text().replace("number 3\tdev", "number 3\ttest")
        Path("data/flickr8k/captions.tsv").write_text(with_test.replace("number 7\tdev", "number 7\ttest"))
        flickr8k.best()
        shown = page.page()
    assert [name for name in (*flickr8k.STEPS, *flickr8k.BESIDE) if name not in shown] == []
    assert "| The best setting against the recipe | recall on dev" in shown
    assert "| Flickr8k at the best setting: K = 6 against the last token |" in shown
    assert "data/flickr8k-and-msrvtt.tsv dev" in shown
