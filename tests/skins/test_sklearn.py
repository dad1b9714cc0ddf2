"""scikit-learn's own code on PromptClassifier: its checks, cross-validation, grids, clones."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_cases import write_clip
from outside import heard
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.utils import estimator_checks as checks
from sklearn.utils.class_weight import compute_sample_weight
from toy_encoders import toy_encoder

from polyprompt import load_encoder, methods
from polyprompt.errors import ConfigError, DataError, ImageError, PolypromptError, UnknownNameError
from polyprompt.skins.sklearn import PromptClassifier


def toy(**settings) -> PromptClassifier:
    """A MaPLe on a toy CLIP, trained for a second."""
    own = {"method": "maple", "settings": {"depth": 2, "words": ""}, "encoder": toy_encoder("clip")}
    quick = {"epochs": 20, "batch": 4, "rate": 0.02, "precision": "fp32"}
    return PromptClassifier(**(own | quick | settings))


@pytest.fixture(scope="module")
def fitted(squares, module_cache):
    return toy().fit(*squares)


def test_it_learns(fitted, squares):
    pictures, names = squares
    assert list(fitted.classes_) == ["blue", "green", "red"]
    assert fitted.score(pictures, names) > 0.9
    untrained = toy(method="zeroshot", settings=None).fit(pictures, names)
    assert untrained.score(pictures, names) < 0.7


def test_probabilities_are_those_of_the_classifier(fitted, squares):
    pictures = [Image.fromarray(array) for array in squares[0]]
    probabilities = fitted.predict_proba(pictures)
    np.testing.assert_allclose(probabilities, fitted.classifier_(pictures).numpy())
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert list(fitted.predict(pictures)) == [fitted.classes_[row.argmax()] for row in probabilities]


def test_paths_pictures_and_arrays_are_the_same_samples(fitted, squares, files):
    arrays, _ = squares
    expected = fitted.predict_proba(arrays)
    kinds = [files, [str(file) for file in files], np.array([str(file) for file in files])]
    kinds += [[Image.fromarray(array) for array in arrays], np.stack(arrays)]
    for samples in kinds:
        np.testing.assert_array_equal(fitted.predict_proba(samples), expected)


def test_fits_of_paths_and_of_pictures_are_the_same(squares, files):
    one, other = toy(epochs=2).fit(*squares), toy(epochs=2).fit(files, squares[1])
    np.testing.assert_array_equal(one.predict_proba(files), other.predict_proba(files))


def test_shots_are_drawn_and_the_seed_draws_them(squares):
    probabilities = [toy(epochs=2, shots=2, seed=seed).fit(*squares).predict_proba(squares[0]) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(probabilities[0], probabilities[1])
    assert not np.array_equal(probabilities[0], probabilities[2])


def test_cross_val_score(squares, files):
    pictures, names = np.array([str(file) for file in files]), np.array(squares[1])
    folds = StratifiedKFold(2)
    scores = cross_val_score(toy(), pictures, names, cv=folds, error_score="raise")
    byhand = [toy().fit(pictures[a], names[a]).score(pictures[b], names[b]) for a, b in folds.split(pictures, names)]
    np.testing.assert_array_equal(scores, byhand)
    assert scores.mean() > 0.5
    predicted = cross_val_predict(toy(epochs=1), list(files), names, cv=folds, method="predict_proba")
    assert predicted.shape == (18, 3)


def test_grid_search(squares, files):
    grid = {"epochs": [1, 20], "settings": [{"depth": 2, "words": ""}]}
    found = GridSearchCV(toy(), grid, cv=2, error_score="raise").fit(files, squares[1])
    assert len(found.cv_results_["params"]) == 2
    assert found.best_params_["epochs"] == 20
    depth = found.best_params_["settings"]["depth"]
    assert found.best_estimator_.classifier_.method.config.depth == depth
    assert found.predict(files[:1])[0] in set(squares[1])


def test_clones_share_the_encoder_and_nothing_that_was_learned(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert copy.encoder is fitted.encoder
    with pytest.raises(NotFittedError):
        copy.predict([])
    assert copy.set_params(rate=0.1).rate == 0.1
    assert fitted.rate == 0.02


@pytest.fixture
def named(tmp_path):
    """An estimator whose encoder is a toy CLIP in a file."""
    file = write_clip(tmp_path / "clip.safetensors")
    return toy(method="coop", settings={"context": 2}, encoder=str(file), epochs=1)


@pytest.mark.outside("pickle")
def test_a_fitted_estimator_is_pickled_without_its_encoder(named, squares):
    fitted = named.set_params(encoder=load_encoder(named.encoder)).fit(*squares)
    kept = pickle.dumps(fitted)
    assert len(kept) < Path(fitted.encoder.name).stat().st_size / 2
    copy = pickle.loads(kept)
    np.testing.assert_array_equal(copy.predict_proba(squares[0]), fitted.predict_proba(squares[0]))
    assert list(copy.classes_) == list(fitted.classes_)
    assert pickle.loads(pickle.dumps(toy(rate=0.5))).rate == 0.5


def test_labels_are_a_column_or_a_list_and_none_is_missing(squares):
    pictures, names = squares
    with pytest.warns(DataConversionWarning):
        column = toy(epochs=1).fit(pictures, np.array(names)[:, None])
    np.testing.assert_array_equal(
        column.predict_proba(pictures), toy(epochs=1).fit(pictures, names).predict_proba(pictures)
    )
    with pytest.raises(DataError, match=r"y\[1\] is missing \(nan\)"):
        toy().fit(pictures[:3], [1.0, float("nan"), 2.0])
    with pytest.raises(DataError, match=r"y has the shape \(18, 2\)"):
        toy().fit(pictures, np.array([names, names]).T)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", 1, "b"], "y holds texts and numbers"),
        ([{"a"}, {"b"}, {"a"}], r"y holds \{'a'\}; a label is a text or a number"),
        ([["a"], ["b"], ["a", "b"]], "y holds lists of several lengths"),
        (3, "y is 3; give a list"),
    ],
)
def test_labels_are_of_one_kind(squares, labels, words, unchecked):
    with pytest.raises(DataError, match=words):
        toy().fit(squares[0][:3], labels)


WHOLE = {"method": "coop", "settings": {"context": 1, "words": "a"}, "batch": 64, "epochs": 2, "rate": 0.5}
"""One batch holds all, so that each epoch is one step down the whole loss."""


def test_a_weight_of_two_is_the_picture_twice_and_one_of_none_is_none(squares):
    pictures, names = squares
    draw = np.random.default_rng(0)
    counts = draw.integers(0, 4, len(names))
    counts[[names.index(name) for name in set(names)]] = 1
    weighed = toy(**WHOLE).fit(pictures, names, sample_weight=counts)
    times = [i for i, count in enumerate(counts) for _ in range(count)]
    doubled = toy(**WHOLE).fit([pictures[i] for i in times], [names[i] for i in times])
    np.testing.assert_allclose(weighed.predict_proba(pictures), doubled.predict_proba(pictures), rtol=1e-4)
    even = toy(**WHOLE).fit(pictures, names).predict_proba(pictures)
    assert np.abs(weighed.predict_proba(pictures) - even).max() > 1e-3
    same = toy(**WHOLE).fit(pictures, names, sample_weight=[3.0] * len(names)).predict_proba(pictures)
    np.testing.assert_allclose(same, even, rtol=1e-4)


@pytest.mark.parametrize("weights", ["balanced", {"red": 4.0, "blue": 0.5}], ids=str)
def test_class_weights_are_scikit_learns(squares, weights):
    pictures, names = squares[0][:13], squares[1][:13]  # not as many of each
    own = np.linspace(0.5, 2, 13)
    weighted = compute_sample_weight(weights, names) * own
    by_class = toy(**WHOLE, class_weight=weights).fit(pictures, names, sample_weight=own)
    by_picture = toy(**WHOLE).fit(pictures, names, sample_weight=weighted)
    np.testing.assert_allclose(by_class.predict_proba(pictures), by_picture.predict_proba(pictures), rtol=1e-5)
    assert by_class.get_params()["class_weight"] == weights


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sample_weight": [1.0]}, r"sample_weight has the shape \(1,\)"),
        ({"sample_weight": [-1.0] + [1.0] * 17}, "a weight is 0 or more"),
        ({"sample_weight": [0.0] * 18}, "none above 0"),
        ({"sample_weight": [float("nan")] * 18}, "infinite"),
        ({"sample_weight": ["1"] * 18}, "sample_weight is .*; one number a picture"),
        ({"sample_weight": [1j] * 18}, "sample_weight is .*; one number a picture"),
        ({"sample_weight": [[1.0], [1.0, 2.0]] * 9}, "sample_weight holds lists of several lengths"),
        ({"class_weight": {"violet": 2.0}}, "class_weight: The classes"),
        ({"class_weight": {"red": -1.0}}, "a weight is 0 or more"),
        ({"class_weight": "even"}, "class_weight"),
        (
            {"method": "zeroshot", "settings": None, "class_weight": "balanced"},
            "zeroshot: its pictures cannot be",
        ),
    ],
    ids=str,
)
def test_weights_that_cannot_be(squares, given, words, unchecked):
    weights = given.pop("sample_weight", None) if "sample_weight" in given else None
    with pytest.raises(PolypromptError, match=words):
        toy(**WHOLE | given).fit(*squares, sample_weight=weights)


def test_weights_follow_the_pictures_that_are_drawn(squares):
    names = squares[1]
    weights = np.where(np.arange(len(names)) % 2, 1.0, 3.0)
    one, other = (toy(**WHOLE, shots=2, seed=4).fit(*squares, sample_weight=w) for w in (weights, 2 * weights))
    np.testing.assert_allclose(one.predict_proba(squares[0]), other.predict_proba(squares[0]), rtol=1e-4)


def test_grey_arrays_are_pictures_and_odd_ones_are_told(fitted, squares):
    grey = squares[0][0][:, :, :1]
    np.testing.assert_array_equal(fitted.predict_proba([grey]), fitted.predict_proba([grey[:, :, 0]]))
    with pytest.raises(DataError, match=r"a sample has the shape \(8, 8, 2\)"):
        fitted.predict_proba([np.zeros((8, 8, 2), np.uint8)])


def test_one_picture_is_a_list_of_one(fitted, squares, files):
    expected = fitted.predict_proba([files[1]])
    for one in (files[1], str(files[1]), files[1].read_bytes(), Image.fromarray(squares[0][1])):
        np.testing.assert_array_equal(fitted.predict_proba(one), expected)
        assert fitted.predict(one).tolist() == fitted.predict([files[1]]).tolist()


@pytest.mark.parametrize("shape", [(7, 9, 3), (7, 9, 4), (7, 9, 1), (7, 9)], ids=str)
def test_an_array_that_is_one_picture_is_not_taken_apart(fitted, shape):
    one = np.zeros(shape, np.uint8)
    for call in (fitted.predict, fitted.predict_proba, lambda X: toy().fit(X, ["a", "b"])):
        with pytest.raises(
            DataError, match=r"^X has the shape \(7, 9.*one picture or a table; give a list, of one: \[X\]"
        ):
            call(one)
    assert len(fitted.predict([one])) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "pictures: got a int"),
        (None, "pictures: got a NoneType"),
        ([], "no pictures were given"),
        (np.array([["a.png"], ["b.png"]]), r"X has the shape \(2, 1\), one picture or a table"),
        (np.array(5), "pictures: got a int"),
    ],
    ids=repr,
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_list_of_pictures_is_told(fitted, given, message):
    with pytest.raises(DataError, match=message):
        fitted.predict(given)


CODES = {"red": 0, "green": 1, "blue": 2}


def told(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "y: " in line]


def test_labels_that_are_no_words_are_told_once(squares, capsys, monkeypatch):
    monkeypatch.setattr("polyprompt.data.messages._printed", set())
    numbers = [CODES[name] for name in squares[1]]
    for _ in range(2):
        toy(epochs=1).fit(squares[0], numbers)
    (line,) = told(capsys)
    assert line.endswith(
        "y: 3 classes are called by numbers or signs (0, 1, 2), read as words; class_names={0: 'a name', ...} "
        "says what they are."
    )
    synsets = [f"n0144076{number}" for number in numbers]
    toy(epochs=1).fit(squares[0], synsets)
    (line,) = told(capsys)
    assert "(n01440760, n01440761, n01440762)" in line
    assert "class_names={'n01440760': 'a name', ...}" in line


def test_nothing_is_told_of_words_or_where_none_are_read(squares, capsys, monkeypatch):
    monkeypatch.setattr("polyprompt.data.messages._printed", set())
    numbers = [CODES[name] for name in squares[1]]
    toy(epochs=1).fit(*squares)
    toy(epochs=1, class_names={code: name for name, code in CODES.items()}).fit(squares[0], numbers)
    toy(method="nearest_mean", settings=None).fit(squares[0], numbers)
    assert not told(capsys)


def test_names_of_no_label_are_told(squares, capsys, monkeypatch):
    monkeypatch.setattr("polyprompt.data.messages._printed", set())
    names = {code: name for name, code in CODES.items()}
    toy(epochs=1, class_names=names | {"0": "rot", 7: "blau"}).fit(squares[0], [CODES[name] for name in squares[1]])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "class_names" in line]
    assert line.endswith("class_names: 2 names of no label in y ('0', 7); y holds 0, 1, 2.")


def test_an_encoder_is_opened_by_name_once(named, squares):
    named.fit(*squares)
    Path(named.encoder).unlink()
    clone(named).fit(*squares)


def test_numbers_as_labels_with_words_for_them(squares):
    words = {3: "red", 5: "green", 9: "blue"}
    labels = [{word: label for label, word in words.items()}[name] for name in squares[1]]
    numbered = toy(epochs=2, class_names=words).fit(squares[0], labels)
    assert list(numbered.classes_) == [3, 5, 9]
    assert numbered.classifier_.class_names == ("red", "green", "blue")
    assert numbered.predict(squares[0][:1]).dtype == np.array(labels).dtype


@pytest.mark.parametrize("name", methods.names())
def test_every_method_fits(name, squares):
    settings = {
        "clip_lora": {"rank": 1},
        "bmip": {"depth": 1, "words": ""},
        "mma": {"start": 2, "end": 3, "width": 4},
        "mmrl": {"layers": (2, 3), "tokens": 2, "space": 8},
        "vdt_adapter": {"descriptions": {"{}": ["a {}.", "one {}."]}},
        "defo": {"queries": 4, "length": 2},
        "fusion": {"depth": 1, "words": ""},
        "mmap": {"depth": 1, "words": ""},
        "kgcoop": {"context": 1, "words": "a"},
        "prograd": {"context": 1, "words": "a"},
        "tcp": {"block": 1},
        "coop": {"context": 2},
        "cocoop": {"context": 1, "reduction": 4, "words": "a"},
        "vpt": {"depth": 1},
        "language": {"depth": 1, "words": ""},
        "ivlp": {"text_depth": 1, "image_depth": 1, "words": ""},
        "maple": {"depth": 1, "words": ""},
        "coprompt": {"depth": 1, "words": "", "descriptions": {"{}": ["a {}."]}},
        "promptsrc": {"text_depth": 1, "image_depth": 1, "words": "", "consistency": {"templates": ["a {}."]}},
    }.get(name, {})
    probabilities = toy(method=name, settings=settings, epochs=1).fit(*squares).predict_proba(squares[0][:2])
    assert probabilities.shape == (2, 3)


CHECKS = (
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_requires_y_none",
    "check_set_params",
    "check_valid_tag_types",
)
"""Those of check_estimator that do not fit tables of numbers."""


@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learns_own_checks(name, unchecked):
    """Without checks of types: scikit-learn gives settings that cannot be, which `fit` alone has to refuse."""
    getattr(checks, name)("PromptClassifier", PromptClassifier())


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (["a.png", "b.png"], ["cat", "dog"], ImageError, "a.png: no such file"),
        ([1.5, 2.5], ["cat", "dog"], DataError, "a sample is 1.5; a picture is a path"),
        ([np.zeros((9, 9, 3))] * 2, ["cat", "dog"], DataError, r"^a sample is array[^\n]*; a picture is a path[^\n]*$"),
        (["a.png", "b.png"], ["cat"], DataError, "2 pictures, but 1 labels"),
        (["a.png", "b.png"], ["cat", "cat"], DataError, "1 class "),
        (["a.png", "b.png"], ["Cat", "cat"], DataError, "have one name"),
    ],
)
def test_pictures_and_labels_that_do_not_fit(X, y, error, message):
    with pytest.raises(error, match=message):
        toy().fit(X, y)


def test_settings_that_cannot_be(unchecked):
    with pytest.raises(UnknownNameError, match="Did you mean 'maple'"):
        toy(method="mapel").fit(["a.png"], ["cat"])
    with pytest.raises(ConfigError, match=r"maple: no setting is called 'dept'. Did you mean depth"):
        toy(settings={"dept": 3}).fit(["a.png"], ["cat"])
    with pytest.raises(ConfigError, match="epochs is 0"):
        toy(epochs=0).fit(["a.png"], ["cat"])
    for settings, words in (
        ({"settings": [1]}, r"settings is \[1\]; give a dict, as in {'depth': 3}, or None"),
        ({"class_names": ["a cat"]}, r"class_names is \['a cat'\]; give a dict, as in {'cat': 'a name'}, or None"),
        ({"class_names": {"cat": 5}}, "class_names: 'cat' is called 5; a name is a text"),
        ({"encoder": None}, "encoder is None; give a name"),
        ({"encoder": 5}, "encoder is 5; give a name"),
    ):
        with pytest.raises(ConfigError, match=words):
            toy(**settings).fit(["a.png", "b.png"], ["cat", "dog"])


def test_no_run_folder_is_left(squares, tmp_path, cd):
    made = []
    (tmp_path / "runs").mkdir()
    cd(tmp_path / "runs")
    with heard("tempfile.mkdtemp", made.append):
        toy(epochs=1).fit(*squares)
    assert made
    assert not any(map(os.path.exists, made))
    assert not os.listdir()
    assert torch.is_grad_enabled()
