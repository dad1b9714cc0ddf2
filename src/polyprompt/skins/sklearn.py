"""An adapted CLIP as scikit-learn's classifiers are used: fit, predict, predict_proba, score, cross_val_score, grids.

A sample is a picture: a path, a PIL picture, or its pixels as an array [height, width, 3] of bytes; one path or one PIL
picture alone is a list of one. `fit` is
`polyprompt adapt` without a run folder (runs/adapt.py): the same draw, loop and published settings; what the frozen
image tower makes of a picture is kept on disk, so the folds of a cross-validation compute it once.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from polyprompt.adapt.adapter import Closed
from polyprompt.adapt.classifier import Classifier
from polyprompt.data.fewshot import few_shot
from polyprompt.data.items import Labelled
from polyprompt.data.items import Picture as ReadPicture
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.names import is_code, is_placeholder
from polyprompt.errors import ConfigError, DataError, NoLabelsError, install
from polyprompt.inputs import Picture, list_of_pictures
from polyprompt.media.pictures import file_bytes, open_picture
from polyprompt.methods import DEFAULT
from polyprompt.runs.load import load_encoder
from polyprompt.runs.processes import device
from polyprompt.runs.resolve import resolved
from polyprompt.runs.saved import load_adapter, save
from polyprompt.runs.settings import AdaptSettings
from polyprompt.runs.training import train
from polyprompt.runs.untrained import untrained
from polyprompt.settings import checked
from polyprompt.towers.encoder import Encoder
from polyprompt.values import Foreign, Json, Values

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.validation import check_is_fitted, column_or_1d
except ImportError:
    raise ConfigError(f"PromptClassifier needs the package scikit-learn; {install('sklearn')}") from None


Samples: TypeAlias = Sequence[object] | np.ndarray
"""Pictures, or labels: a list, or numpy's array of them."""
Pictures: TypeAlias = Samples | Picture
"""Pictures, or one."""


class PromptClassifier(ClassifierMixin, BaseEstimator):
    """Prompts learned from few pictures.

    Args:
        method: a name from methods/, or a module of your own.
        encoder: what `load_encoder` opens, or an encoder that is open; clones share it, since it is frozen.
        settings: of the method, as in `{"depth": 3}`; those left out are the published ones.
        class_names: words for the labels, by label; None: the labels themselves.
        class_weight: how much each class counts in cross-entropy, by label, 1 where none is said; "balanced": classes
            of few pictures as much as those of many, n / (c n_k) of the pictures drawn; None: all pictures alike.
        shots: pictures drawn of each class, all of a class that has fewer; None: all.
        epochs: passes over them; None: as published, as the next two.
        batch: pictures a step.
        rate: peak learning rate.
        seed: of the draw, the random start and the order of batches.
        precision: of training, "fp32", "bf16", or "auto", the faster one.
        cache_gb: largest size of the pictures' states to keep on disk; 0 keeps nothing.

    Attributes:
        classes_: the labels, sorted, in the order of the probabilities.
        classifier_: the trained `Classifier`.
    """

    def __init__(
        self,
        method: str = DEFAULT,
        encoder: str | Encoder = "ViT-B-16/openai",
        *,
        settings: Values | None = None,
        class_names: Mapping[object, str] | None = None,
        class_weight: Mapping[object, float] | str | None = None,
        shots: int | None = None,
        epochs: int | None = None,
        batch: int | None = None,
        rate: float | None = None,
        seed: int = 1,
        precision: str = "auto",
        cache_gb: float = 20.0,
    ) -> None:
        self.method = method
        self.encoder = encoder
        self.settings = settings
        self.class_names = class_names
        self.class_weight = class_weight
        self.shots = shots
        self.epochs = epochs
        self.batch = batch
        self.rate = rate
        self.seed = seed
        self.precision = precision
        self.cache_gb = cache_gb

    def fit(
        self, X: Pictures, y: Samples, sample_weight: Sequence[float] | np.ndarray | None = None
    ) -> "PromptClassifier":
        """Trains the prompts. Labels that are no words (0, n01440764) are read as they are, which is told once.

        Args:
            X: pictures, one a sample.
            y: their labels, strings or numbers.
            sample_weight: how much each counts in cross-entropy, 0 or more, times its `class_weight`; in a batch the
                sum of weighted losses is divided by the sum of weights. None: all alike.

        Raises:
            DataError: no labels, not as many as pictures, or labels that cannot be class names; weights likewise.
            ConfigError: a setting that cannot be, weights for a method that knows none.
            ImageError: a picture that cannot be read.
        """
        if y is None:
            raise NoLabelsError("a classifier requires y to be passed, but the target y is None; one label a picture")
        values = {"shots": self.shots, "epochs": self.epochs, "batch": self.batch, "rate": self.rate}
        values |= {"seed": self.seed, "precision": self.precision, "cache_gb": self.cache_gb}
        values |= {
            "data": "X",
            "encoder": str(self.encoder),
            "method": {"name": self.method, **table_of(self.settings, "settings", "{'depth': 3}")},
        }
        settings = resolved(checked(AdaptSettings, values))
        classes, labels = np.unique(labels_of(y), return_inverse=True)
        names = names_of(self.class_names, classes.tolist())
        pictures = tuple(picture(number, sample) for number, sample in enumerate(pictures_of(X)))
        data = Labelled("X", pictures, tuple(labels.tolist()), names)
        weight_of = dict(zip(map(id, data.pictures), weights_of(sample_weight, len(labels)), strict=True))
        if self.shots is not None:
            data = few_shot(data, self.shots, Random(self.seed), take_fewer=True)
        weights = None
        if sample_weight is not None or self.class_weight is not None:
            of_classes = by_class(self.class_weight, classes[list(data.labels)])
            weights = torch.tensor([weight_of[id(one)] for one in data.pictures]) * of_classes
        encoder = encoder_of(self.encoder)
        encoder.to(device())
        method = untrained(settings, encoder, names, keep=bool(self.cache_gb))
        if not isinstance(method.adapter, Closed):  # which reads no names
            tell_codes(classes.tolist(), names)
        with TemporaryDirectory() as folder:
            train([(method, data)], settings, Path(folder), resume=False, weights=weights)
        self.classes_, self.classifier_ = classes, Classifier(method.eval())
        return self

    def predict_proba(self, X: Pictures) -> np.ndarray:
        """One row of probabilities a picture, one column for each of `classes_`.

        Raises:
            ImageError: a picture that cannot be read. DataError: none was given, or an array that is one picture.
        """
        check_is_fitted(self)
        return self.classifier_(pictures_of(X)).numpy()

    def predict(self, X: Pictures) -> np.ndarray:
        """The most probable label of each picture.

        Raises:
            ImageError, DataError: as `predict_proba`.
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def __getstate__(self) -> Json:
        """What was learned as the files of a saved adapter; the encoder by its name, since it is frozen and large."""
        state: Json = {**cast(Json, super().__getstate__())}
        if isinstance(self.encoder, Encoder):
            state["encoder"] = self.encoder.name
        if "classifier_" in state:
            with TemporaryDirectory() as place:
                save(self.classifier_.method, Path(place) / "model")
                state["classifier_"] = {file.name: file.read_bytes() for file in (Path(place) / "model").iterdir()}
        return state

    def __setstate__(self, state: Json) -> None:
        state = dict(state)
        files = state.pop("classifier_", None)
        super().__setstate__(state)
        if files is not None:
            with TemporaryDirectory() as place:
                for name, data in files.items():
                    (Path(place) / name).write_bytes(data)
                self.classifier_ = Classifier(load_adapter(place, opened(state["encoder"])).eval())

    def __sklearn_clone__(self) -> "PromptClassifier":
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Foreign:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        tags.no_validation = True  # pictures are read and checked one by one
        return tags


@lru_cache(maxsize=1)
def opened(name: str) -> Encoder:
    """An encoder, kept open: every fold and every cell of a grid asks for it."""
    return load_encoder(name)


def encoder_of(given: object) -> Encoder:
    """An encoder, opened if it is a name.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(given, str | Path):
        return opened(str(given))
    if not isinstance(given, Encoder):
        raise ConfigError(f"encoder is {given!r:.60}; give a name (ViT-B-16/openai), a folder, or an encoder")
    return given


def table_of(given: object, name: str, example: str) -> dict[object, object]:
    """What a parameter that is a dict or None holds.

    Raises:
        ConfigError: it is anything else.
    """
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{name} is {given!r:.60}; give a dict, as in {example}, or None")
    return dict(given or {})


def names_of(given: object, labels: Sequence[object]) -> tuple[str, ...]:
    """The name of each label; names for others are told, as a fold may lack a class.

    Raises:
        ConfigError: no dict of texts.
    """
    words = table_of(given, "class_names", f"{{{labels[0]!r}: 'a name'}}" if labels else "{'n02123045': 'tabby cat'}")
    if odd := [label for label, word in words.items() if not isinstance(word, str)]:
        raise ConfigError(f"class_names: {odd[0]!r} is called {words[odd[0]]!r:.60}; a name is a text")
    if unused := [repr(label) for label in words if label not in labels]:
        there = some([repr(label) for label in labels])
        say_once("y", f"class_names: {count(len(unused), 'name')} of no label in y ({some(unused)}); y holds {there}.")
    return tuple(str(words.get(label, label)) for label in labels)


def labels_of(y: Samples) -> np.ndarray:
    """Labels as an array; a column of them is one, too, as scikit-learn has it.

    Raises:
        NoLabelsError: no list, one of lists, a table of several columns, or a label that is missing (NaN, None).
    """
    if not isinstance(y, Iterable):
        raise NoLabelsError(f"y is {y!r:.60}; give a list, one label a picture")
    if not isinstance(y, np.ndarray):
        kinds = {isinstance(label, str) for label in y if label is not None}
        if len(kinds) > 1:  # numpy would make texts of the numbers
            raise NoLabelsError("y holds texts and numbers; labels are all of one kind")
    try:
        labels = np.asarray(y)
    except ValueError:
        raise NoLabelsError("y holds lists of several lengths; one label a picture") from None
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = column_or_1d(labels, warn=True)
    if labels.ndim != 1:
        raise NoLabelsError(f"y has the shape {labels.shape}; one label a picture, a list or an array [n]")
    missing = [place for place, label in enumerate(labels.tolist()) if label is None or label != label]
    if missing:
        raise NoLabelsError(f"y[{missing[0]}] is missing ({labels[missing[0]]}); leave out pictures without a label")
    if odd := [label for label in labels.tolist() if not isinstance(label, str | int | float)]:
        raise NoLabelsError(f"y holds {odd[0]!r:.60}; a label is a text or a number, one a picture")
    return labels


def weights_of(given: Sequence[float] | np.ndarray | None, count: int) -> list[float]:
    """One weight a picture.

    Raises:
        NoLabelsError: not one for each, or one below 0, infinite or not a number; all 0.
    """
    try:
        weights = np.ones(count, np.float32) if given is None else np.asarray(given)
    except ValueError:
        raise NoLabelsError("sample_weight holds lists of several lengths; one number a picture") from None
    if weights.dtype.kind not in "biuf":
        raise NoLabelsError(f"sample_weight is {given!r:.60}; one number a picture, 0 or more")
    weights = weights.astype(np.float32)
    if weights.shape != (count,):
        raise NoLabelsError(f"sample_weight has the shape {weights.shape}; one number a picture, ({count},)")
    if count and not (np.isfinite(weights).all() and weights.min() >= 0 and weights.max() > 0):
        raise NoLabelsError("sample_weight: a number below 0, an infinite one, or none above 0; a weight is 0 or more")
    return weights.tolist()


def by_class(given: Mapping[object, float] | str | None, labels: np.ndarray) -> Float[torch.Tensor, "n"]:
    """The weight of each picture's class, as scikit-learn has it.

    Raises:
        ConfigError: no such weights.
    """
    weights_by_label = dict(given) if isinstance(given, Mapping) else given
    try:
        weights = torch.from_numpy(compute_sample_weight(weights_by_label, labels)).float()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"class_weight: {error}") from None
    if not (weights.isfinite().all() and weights.min() >= 0):
        raise ConfigError("class_weight: a weight is 0 or more")
    return weights


def tell_codes(labels: Sequence[object], names: Sequence[str]) -> None:
    """Says once which class names are no words, and how to give some."""
    codes = [place for place, name in enumerate(names) if is_code(name) or is_placeholder(name)]
    if codes:
        number = count(len(codes), "class is", "classes are")
        example = f"class_names={{{labels[codes[0]]!r}: 'a name', ...}}"
        shown = some([names[place] for place in codes])
        say_once("y", f"y: {number} called by numbers or signs ({shown}), read as words; {example} says what they are.")


def pictures_of(X: object) -> list[Picture]:
    """The samples as a classifier takes them; one path or PIL picture is a list of one.

    Raises:
        DataError: none, one that is no picture, or an array or table that would be taken apart into rows.
    """
    if isinstance(X, np.ndarray) and not X.ndim:
        X = X.item()
    shape = getattr(X, "shape", ())
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4)):
        raise DataError(
            f"X has the shape {tuple(shape)}, one picture or a table; give a list, of one: [X], or of paths, or an "
            "array [pictures, height, width, 3]"
        )
    if isinstance(X, Iterable) and not isinstance(X, Picture):
        X = [shown(sample) for sample in X]
    return list_of_pictures(X)


def shown(sample: object) -> Picture:
    """A sample as a classifier takes it.

    Raises:
        DataError: not a picture.
    """
    if isinstance(sample, np.ndarray) and sample.dtype == np.uint8 and sample.ndim in (2, 3):
        if sample.ndim == 3 and sample.shape[2] == 1:
            sample = sample[:, :, 0]
        if sample.size and (sample.ndim == 2 or sample.shape[2] in (3, 4)):
            return Image.fromarray(sample)
        raise DataError(f"a sample has the shape {sample.shape}; an array is [height, width] or [height, width, 1|3|4]")
    if not isinstance(sample, Picture):
        words = " ".join(repr(sample).split())[:60]
        raise DataError(
            f"a sample is {words}; a picture is a path, a PIL picture, or an array [height, width, 3] of bytes"
        )
    return sample


def picture(number: int, source: Picture) -> ReadPicture:
    """A sample as data sets have it."""
    if isinstance(source, Image.Image):
        return ReadPicture(f"X[{number}]", partial(as_png, source))
    if isinstance(source, bytes):
        return ReadPicture(f"X[{number}]", partial(bytes, source))
    return ReadPicture(str(source), partial(file_bytes, Path(source)))


def as_png(image: Image.Image) -> bytes:
    """A picture's bytes, every pixel kept."""
    data = BytesIO()
    open_picture(image).save(data, "PNG", compress_level=1)
    return data.getvalue()
