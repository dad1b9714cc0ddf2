"""What a method is: an adapter owns what learns, and says what that does to a frozen encoder.

The base does nothing, which is zero-shot with one sentence a class. A method (methods/) overrides the hooks that its
paper is about; the engine (engine.py) calls them in the order in which they stand here.
"""

import copy
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.adapt.terms import CrossEntropy, Term
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import filled
from polyprompt.errors import ConfigError, DataError
from polyprompt.towers.base import NOTHING, Change, Out, Rows, TextTower

Names = Sequence[str]
"""Class names, in the order of the scores."""


class Adapter(nn.Module):
    """Parameters are what learns; persistent buffers belong to the method as well, and are saved with them."""

    scale: float | None = None
    """The factor on cosines; None: the encoder's own, exp(logit_scale)."""
    views: int = 1
    """Random views of each training picture that `fit` is given, where pictures are augmented."""
    names_classes: bool = True
    """Whether `class_vectors` are of the classes, so that a term can compare them with the frozen encoder's."""

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Token ids and slots for the text tower: a row a class, or several, which `class_vectors` joins."""
        return filled(text, ["a photo of a {}."], names)

    def text_change(self, frozen: FrozenView) -> Change:
        """What the text tower is handed. Who asks for `frozen.images` makes class vectors of each picture's own."""
        return NOTHING

    def image_change(self, frozen: FrozenView) -> Change:
        """What the image tower is handed."""
        return NOTHING

    def class_vectors(self, out: Out, frozen: FrozenView) -> Float[Tensor, "c *b D"]:
        """One vector a class (and picture), from those of the rows; not necessarily of length 1."""
        return out.vectors

    def image_vectors(self, out: Out) -> Float[Tensor, "*q b D"]:
        """One vector a picture; a method with several of them has scores of its own."""
        return out.vectors

    def scores(
        self, images: Float[Tensor, "*q b D"], classes: Float[Tensor, "c *b D"], scale: Float[Tensor, ""]
    ) -> dict[str, Float[Tensor, "b c"]]:
        """Scores by name: "logits" predicts, others are for terms."""
        return {"logits": class_logits(images, classes, scale)}

    def terms(self) -> list[Term]:
        """The whole loss: terms are added up. Called once, when training is set up."""
        return [CrossEntropy()]

    def fit(self, views: Float[Tensor, "g n D"], labels: Int[Tensor, "n"]) -> None:
        """Called once before training, with the frozen vectors of all training pictures (Tip-Adapter's cache)."""

    def tune(
        self, images: Float[Tensor, "n D"], labels: Int[Tensor, "n"], classes: Float[Tensor, "c D"], scale: float
    ) -> None:
        """Called once after training, with the vectors of validation pictures, if there are any."""

    def numbers(self) -> dict[str, int]:
        """How many numbers are learned, by the name of what holds them."""
        return {name: one.numel() for name, one in self.named_parameters() if one.requires_grad}

    def take_shapes(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Called before saved tensors are put in, for methods whose sizes come from the training pictures."""

    @property
    def tasks(self) -> Mapping[str, Names]:
        """Classes by task, where several learn together."""
        return {}

    def for_task(self, task: str) -> "Adapter":
        """The same adapter at work on another of its tasks.

        Raises:
            ConfigError: there is no such task.
        """
        raise ConfigError(f"{method_name(self)} was trained for one task, and has none called {task!r}")

    def for_names(self, names: Names) -> "Adapter":
        """The adapter for other classes than those it was made for; itself, unless something belongs to a class.

        Raises:
            DataError: nothing was learned for one of them.
        """
        return self


def class_logits(
    images: Float[Tensor, "b D"], classes: Float[Tensor, "c D"], scale: Float[Tensor, ""]
) -> Float[Tensor, "b c"]:
    """scale * cosine(image, class)."""
    return scale * F.normalize(images, dim=-1) @ F.normalize(classes, dim=-1).T


def method_name(made: object) -> str:
    """ "maple" for its adapter or its config, "my_lab.prompts" for those of a module of your own."""
    return type(made).__module__.removeprefix("polyprompt.methods.")


def check_class_vectors(term: str, adapter: Adapter) -> None:
    """Refuses a method whose class vectors are no such thing.

    Raises:
        ConfigError: says which.
    """
    if not adapter.names_classes:
        raise ConfigError(
            f"terms: {term} compares class vectors, and {method_name(adapter)} has no class vectors; use another method"
        )


def places_among(owners: Names, names: Names, nothing: str) -> list[int]:
    """Where classes stand among those that something was learned for; `nothing` begins the error.

    Raises:
        DataError: a class is not there.
    """
    unknown = [name for name in names if name not in owners]
    if unknown:
        raise DataError(
            f"{nothing} class {unknown[0]!r}; it knows {', '.join(owners[:5])}{', ...' if len(owners) > 5 else ''} "
            "and no other"
        )
    return [owners.index(name) for name in names]


class Closed(Adapter):
    """An adapter for the classes that it was made for and no others, with buffers that have a row for each of them."""

    of_classes: tuple[str, ...] = ()
    """The names of these buffers."""
    nothing: str = ""
    """What the error for another class begins with."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self.names = tuple(names)

    def check_seen(self, labels: Int[Tensor, "n"]) -> None:
        """Refuses training pictures that leave a class out.

        Raises:
            DataError: which.
        """
        if missing := set(range(len(self.names))) - set(labels.tolist()):
            name = self.names[min(missing)]
            raise DataError(
                f"{method_name(self)}: class {name!r} has no training picture; each class needs at least one"
            )

    def numbers(self) -> dict[str, int]:
        """What `fit` gives these buffers is learned, too."""
        return super().numbers() | {name: getattr(self, name).numel() for name in self.of_classes}

    def for_names(self, names: Names) -> "Closed":
        """The same classes in another order, or some of them."""
        if tuple(names) == self.names:
            return self
        places = places_among(self.names, names, self.nothing)
        other = copy.copy(self)
        other._buffers = dict(self._buffers)
        other.names = tuple(names)
        for buffer in self.of_classes:
            setattr(other, buffer, getattr(self, buffer)[places])
        return other


def entering(layers: Sequence[Float[Tensor, "p *b d"]], start: int = 0) -> Change:
    """Rows for consecutive blocks from `start` on, a set each; at block 0 they enter at the input, among the tokens."""
    rows = {start + i: Rows(layer) for i, layer in enumerate(layers)}
    return Change(input=rows.pop(0, None) if start == 0 else None, prompts=rows)
