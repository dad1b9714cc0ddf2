"""Runs of both kinds scored on other sets: captions, labels, splits, classes; the results keep all else."""

import csv
import shutil

import numpy as np
import pytest
import torch
from bits import COLOURS
from toy_encoders import toy_encoder
from toy_runs import toy_settings

from polyprompt.adapt.classifier import Classifier
from polyprompt.data.items import Labelled, Picture
from polyprompt.data.read import read_labelled, read_pairs
from polyprompt.errors import ConfigError, DataError, FileError
from polyprompt.evaluate.retrieval import recall
from polyprompt.runs.adapt import adapt
from polyprompt.runs.align import align
from polyprompt.runs.evaluate import _among, evaluate
from polyprompt.runs.folder import read_results
from polyprompt.runs.load import load
from polyprompt.runs.saved import load_adapter
from polyprompt.runs.settings import AdaptSettings

QUICK = {"epochs": 2, "batch": 4, "rate": 0.01, "shots": 3, "precision": "fp32"}


@pytest.fixture(scope="module")
def runs(place, tmp_path_factory, module_cache):
    """A run of `align`, and one of `adapt` on a toy CLIP."""
    folder = tmp_path_factory.mktemp("runs")
    align(toy_settings(place, epochs=1), folder / "aligned")
    settings = {"data": str(place / "photos"), "encoder": "toy", "method": {"name": "coop", "context": 2}}
    adapt(AdaptSettings(**settings, **QUICK), folder / "adapted", encoder=toy_encoder("clip"))
    return folder


@pytest.fixture
def aligned(runs, tmp_path):
    return shutil.copytree(runs / "aligned", tmp_path / "aligned")


@pytest.fixture
def adapted(runs, tmp_path):
    folder = shutil.copytree(runs / "adapted", tmp_path / "adapted")
    return folder, Classifier(load_adapter(folder / "model", toy_encoder("clip")))


def accuracy(classifier, data):
    """One picture at a time, against its label."""
    names = classifier.class_names
    right = [
        names[int(classifier([picture.open()])[0].argmax())] == data.class_names[label]
        for picture, label in zip(data.pictures, data.labels, strict=True)
    ]
    return np.mean(right)


def test_captions_of_any_split(aligned, place):
    before = read_results(aligned)
    captions = str(place / "captions")
    for split, count in (("test", 8), ("dev+test", 16), (None, 32)):
        found = evaluate(aligned, captions, split)
        assert (found.kind, found.name) == ("retrieval", f"{captions} {split or 'all'}")
        assert found.scores["images"] == count
    model, pairs = load(aligned), read_pairs(captions, "dev+test")
    texts, images = model.encode_text(pairs.captions), model.encode_image([one.open() for one in pairs.images])
    expected = recall(images, texts, torch.tensor(pairs.image_of))
    after = read_results(aligned)
    kept = after["retrieval"][f"{captions} dev+test"]
    assert {way: kept[way] for way in expected} == expected
    assert after["retrieval"].keys() - before["retrieval"].keys() == {f"{captions} dev+test", f"{captions} all"}
    assert after["scored"].keys() == {f"{captions} {split}" for split in ("test", "dev+test", "all")}
    assert after["scored"][f"{captions} test"] == {"data": captions}  # as demo has it, too
    assert {**after, "retrieval": 0, "scored": 0} == {**before, "retrieval": 0, "scored": 0}


def test_a_model_of_captions_scores_labels_zero_shot(aligned, place):
    data = read_labelled(str(place / "photos"))
    model = load(aligned)

    def by_hand(names, template="a photo of a {}."):
        scores = model.similarity([template.format(name) for name in names], [one.open() for one in data.pictures])
        found = [names[i] for i in scores.argmax(dim=0)]
        return np.mean([name == data.class_names[label] for name, label in zip(found, data.labels, strict=True)])

    found = evaluate(aligned, str(place / "photos"))
    assert (found.kind, found.name) == ("classification", f"{place / 'photos'} all")
    assert found.scores["accuracy"] == by_hand(sorted(COLOURS))
    more = [*COLOURS, "grey", "black"]
    found = evaluate(aligned, str(place / "photos"), class_names=more, templates=["one {}."])
    assert found.name == f"{place / 'photos'} all, 6 classes given"
    assert found.scores["accuracy"] == by_hand(more, "one {}.")
    assert found.scores["classes"] == 6
    assert read_results(aligned)["classification"].keys() == {f"{place / 'photos'} all", found.name}


def test_other_classes_templates_or_folders_of_one_name_have_scores_of_their_own(
    aligned, tmp_path, place, monkeypatch, capsys
):
    shutil.copytree(place / "photos" / "red", tmp_path / "photos" / "red")
    shutil.copytree(place / "photos" / "blue", tmp_path / "photos" / "blue")
    others, found = ["red", "blue"], {}
    for folder, how in (
        (place, {}),
        (tmp_path, {}),
        (place, {"templates": ["one {}."]}),
        (tmp_path, {"class_names": others}),
        (tmp_path, {"class_names": [*reversed(others)]}),
        (tmp_path, {"class_names": others}),
    ):
        monkeypatch.chdir(folder)
        one = evaluate(aligned, "photos", **how)
        found[one.name] = one.scores
    given = "photos all, 2 classes given"
    assert found.keys() == {"photos all", "photos all (2)", "photos all (3)", given, f"{given} (2)"}
    assert read_results(aligned)["classification"] == found
    assert "replaced" not in capsys.readouterr().err
    shutil.copytree(place / "photos" / "green", tmp_path / "photos" / "green")
    assert evaluate(aligned, "photos").name == "photos all (2)"
    assert f"{aligned}: the scores of photos all (2) that it had are replaced." in capsys.readouterr().err


def test_captions_where_there_are_labels_too(aligned, tmp_path, place):
    shutil.copytree(place / "photos", tmp_path / "both")
    with open(tmp_path / "both" / "captions.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "caption"])
        table.writerows([f"{name}/{path.name}", f"a {name} square"] for name in COLOURS
                        for path in (tmp_path / "both" / name).iterdir())  # fmt: skip
    assert evaluate(aligned, str(tmp_path / "both")).kind == "retrieval"


def test_an_adapted_run_scores_another_set_among_its_own_classes(adapted, place, tmp_path):
    folder, classifier = adapted
    before = read_results(folder)
    for name in ("red", "blue"):
        shutil.copytree(place / "photos" / name, tmp_path / "two" / name)
    found = evaluate(folder, str(tmp_path / "two"), model=classifier)
    data = read_labelled(str(tmp_path / "two"))
    assert (found.kind, found.scores["pictures"], found.scores["classes"]) == ("classification", 16, 4)
    assert found.scores["accuracy"] == accuracy(classifier, data)
    after = read_results(folder)
    assert after["classification"].pop(f"{tmp_path / 'two'} all") == found.scores
    del after["scored"]
    assert after == before


def test_what_a_run_was_trained_on_is_told_and_kept(adapted, place, tmp_path, capsys):
    """By the bytes, whatever the folder is called; a set without them, and one that has moved, say nothing."""
    folder, classifier = adapted
    copied = shutil.copytree(place / "photos", tmp_path / "copied")
    drawn = [key for keys in read_inputs(folder)["drawn"].values() for key in keys]
    for source in (place / "photos", copied):
        found = evaluate(folder, str(source), model=classifier).scores
        assert found["trained_on"] == len(drawn) == 3 * len(classifier.class_names)
        said = capsys.readouterr().err
        assert f"{source.name}: {len(drawn)} of {found['pictures']} pictures are those that {folder} was" in said
        assert read_results(folder)["classification"][f"{source} all"]["trained_on"] == len(drawn)
    for key in drawn:
        (copied / key).unlink()
    assert "trained_on" not in evaluate(folder, str(copied), model=classifier).scores
    assert "trained on" not in capsys.readouterr().err


def test_what_a_run_was_trained_on_is_found_from_any_folder(place, tmp_path, monkeypatch, capsys):
    photos = shutil.copytree(place / "photos", tmp_path / "here" / "photos")
    monkeypatch.chdir(tmp_path / "here")
    settings = {"data": "photos", "encoder": "toy", "method": {"name": "coop", "context": 2}}
    adapt(AdaptSettings(**settings, **QUICK), tmp_path / "run", encoder=toy_encoder("clip"))
    monkeypatch.chdir(tmp_path)
    classifier = Classifier(load_adapter(tmp_path / "run" / "model", toy_encoder("clip")))
    drawn = 3 * len(classifier.class_names)
    assert evaluate(tmp_path / "run", "here/photos", model=classifier).scores["trained_on"] == drawn
    moved = photos.rename(tmp_path / "moved")
    capsys.readouterr()
    assert "trained_on" not in evaluate(tmp_path / "run", str(moved), model=classifier).scores
    told = f"moved: {drawn} of {drawn} pictures that {tmp_path / 'run'} was trained on lie no longer where they did"
    assert told in capsys.readouterr().err


def test_an_adapted_run_scores_other_classes(adapted, place, tmp_path, capsys):
    folder, classifier = adapted
    for new, old in (("crimson", "red"), ("snow", "white"), ("leaf", "green")):
        shutil.copytree(place / "photos" / old, tmp_path / "other" / "test" / new)
        shutil.copytree(place / "photos" / old, tmp_path / "other" / "train" / new)
    other = str(tmp_path / "other")
    found = evaluate(folder, other, "test", model=classifier)
    assert "has classes that" in capsys.readouterr().err
    data = read_labelled(other, "test")
    assert list(found.scores["class_accuracy"]) == ["crimson", "leaf", "snow"]
    assert found.scores["accuracy"] == accuracy(classifier.for_classes(data.class_names), data)
    names = ["snow", "leaf", "crimson", "sky"]
    given = evaluate(folder, other, "test", class_names=names, model=classifier)
    assert given.name == f"{other} test, 4 classes given"
    assert given.scores["accuracy"] == accuracy(classifier.for_classes(names), data)
    with pytest.raises(DataError, match="class 'crimson' is not among the 2 expected"):
        evaluate(folder, other, "test", class_names=["snow", "leaf"], model=classifier)


def test_what_cannot_be_scored(adapted, aligned, place, tmp_path):
    folder, classifier = adapted
    with pytest.raises(ConfigError, match="which learned what stands around class names; give no templates"):
        evaluate(folder, str(place / "photos"), templates=["a {}."], model=classifier)
    table = tmp_path / "captions.csv"
    table.write_text(f"file,caption\n{place}/photos/red/0.png,a red square\n")
    with pytest.raises(DataError, match="no labels"):
        evaluate(folder, str(table), model=classifier)
    with pytest.raises(FileError, match="not a finished run"):
        evaluate(tmp_path, str(place / "captions"))
    (aligned / "results.json").unlink()
    with pytest.raises(FileError, match="not a finished run"):
        evaluate(aligned, str(place / "captions"))


def test_zero_shot_stands_beside(adapted, place):
    folder, _ = adapted
    results = read_results(folder)
    encoder = toy_encoder("clip")
    drawn = {key for keys in read_inputs(folder)["drawn"].values() for key in keys}
    data = read_labelled(str(place / "photos"))
    texts = encoder.encode_text([f"a photo of a {name}." for name in data.class_names])
    held = [i for i, picture in enumerate(data.pictures) if picture.key not in drawn]
    pixels = torch.stack([encoder.image.preprocess(data.pictures[i].open()) for i in held])
    unit = torch.nn.functional.normalize
    found = (unit(encoder.encode_image(pixels), dim=1) @ unit(texts, dim=1).T).argmax(dim=1).tolist()
    expected = np.mean([label == data.labels[i] for label, i in zip(found, held, strict=True)])
    assert results["zero_shot"]["test"]["accuracy"] == pytest.approx(expected)
    assert results["zero_shot"].keys() == results["classification"].keys()


def read_inputs(folder):
    from polyprompt.disk.files import read_json

    return read_json(folder / "inputs.json")


def test_two_classes_of_one_name_keep_their_labels():
    """ImageNet has two kinds of missile; another set's second one is the second one there, too."""
    pictures = tuple(Picture(f"{i}.png", lambda: b"") for i in range(3))
    data = Labelled("few", pictures, (0, 1, 2), ("missile", "dog", "missile"), ("missile",))
    among = _among(data, ("dog", "missile", "cat", "missile"))
    assert among.labels == (1, 0, 3)
