"""The one engine: a frozen encoder, an adapter, class names -> scores, named losses, a class head.

adapted = build(config_of("maple")(depth=3), encoder, class_names)
adapted.losses(adapted.see(pixels), labels)["loss"].backward()
adapted.eval()(pixels)
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names, method_name
from polyprompt.adapt.terms import Result, Term, TermConfig, combined
from polyprompt.adapt.view import BlankPicture, FrozenText, FrozenView, NoPictures, Pictures, PixelPictures
from polyprompt.adapt.wording import prepare
from polyprompt.data.names import check_class_names
from polyprompt.towers.base import DualEncoder, ImageTower, Out, States, check_change
from polyprompt.types import Pixels
from polyprompt.values import Foreign

Losses = dict[str, Float[Tensor, ""]]
"""Scalars by name; `loss` is minimised, the others are its parts."""


@runtime_checkable
class MethodConfig(Protocol):
    """Settings of a method: a frozen dataclass that checks itself."""

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> Adapter:
        """An untrained adapter; `draw` gives its random start."""
        ...


@runtime_checkable
class CountsEpochs(Protocol):
    """Settings of a method or a term that do not go with every number of epochs."""

    def check_epochs(self, epochs: int) -> None:
        """Says so before anything is trained.

        Raises:
            ConfigError: they do not go with this one.
        """
        ...


class Adapted(nn.Module):
    """A frozen encoder as an adapter changes it, over some classes.

    Args:
        encoder: stays as it is, statistics of its normalisation layers included.
        adapter: what learns; goes to where the encoder is.
        class_names: in the order of the scores.
        config: what the adapter was built from.
        terms: the loss, added up.
        keep: whether vectors of many sentences are kept on disk.

    Raises:
        DataError: class names that are empty, read the same, or are too long; fewer than two.
        ConfigError: a tower that cannot take the change.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        adapter: Adapter,
        class_names: Names,
        *,
        config: MethodConfig,
        terms: Iterable[Term],
        keep: bool = False,
        twins: Names = (),
    ) -> None:
        super().__init__()
        device = encoder.logit_scale.device
        self.config, self.encoder, self.adapter = config, encoder, adapter.to(device)
        self.class_names, self.twins = check_class_names(class_names, twins=twins), tuple(twins)
        self.terms = nn.ModuleList(terms).to(device)
        self.frozen_text = FrozenText(encoder, self.class_names, keep=keep)
        rows = adapter.rows(encoder.text, self.class_names)
        with torch.no_grad():
            blank = FrozenView(self.frozen_text, BlankPicture(encoder))
            text, image = adapter.text_change(blank).plan, adapter.image_change(blank).plan
        check_change(encoder.text, "text", text)
        check_change(encoder.image, "image", image)
        self.texts = prepare(encoder.text, rows, self.class_names, text)
        self.text_start, self.image_start = text.start, image.start
        self._below: tuple[torch.device, States] | None = None

    # Seeing

    def see(self, pictures: Pixels | Pictures) -> FrozenView:
        """The frozen encoder's view of pictures, given as pixels or as states on disk: what all else starts from."""
        if isinstance(pictures, Tensor):
            pictures = PixelPictures(self.encoder, pictures)
        return FrozenView(self.frozen_text, pictures)

    def forward(self, pixels: Pixels) -> Float[Tensor, "b c"]:
        """The logits of preprocessed pictures, columns in the order of `class_names`; no softmax yet."""
        return self.logits(self.see(pixels))

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The factor on cosines: the method's own number where it has one, else exp(logit_scale) of the encoder."""
        scale = self.adapter.scale
        return self.encoder.logit_scale.exp() if scale is None else torch.full_like(self.encoder.logit_scale, scale)

    def text_out(self, view: FrozenView) -> Out:
        """The text tower's vectors of the adapter's rows, with its change."""
        return self.encoder.text.above(self.texts, self._text_states(), self.adapter.text_change(self._own(view)))

    def class_features(self, view: FrozenView) -> Float[Tensor, "c *b D"]:
        """One vector a class (and picture), not normalised."""
        return self.adapter.class_vectors(self.text_out(view), self._own(view))

    def _own(self, view: FrozenView) -> FrozenView:
        """The same pictures beside these classes, where the view was made for others."""
        return view if view.text is self.frozen_text else self.see(view.pictures)

    def image_features(self, view: FrozenView) -> Float[Tensor, "*q b D"]:
        """One vector a picture, not normalised; several, where a method has several."""
        return self.adapter.image_vectors(self._image_out(view))

    def logits(self, view: FrozenView) -> Float[Tensor, "b c"]:
        """One score a picture and class."""
        return self.adapter.scores(self.image_features(view), self.class_features(view), self.scale)["logits"]

    def _image_out(self, view: FrozenView) -> Out:
        change = self.adapter.image_change(view)
        return self.encoder.image.above(view.states(change.start), change)

    def _text_states(self) -> States:
        """What the change leaves alone of the texts: computed once, in full precision."""
        device = self.encoder.logit_scale.device
        if self._below is None or self._below[0] != device:
            with torch.autocast(device.type, enabled=False):
                self._below = device, self.encoder.text.below(self.texts, self.text_start)
        return self._below[1]

    # Learning

    def learned(self) -> dict[str, nn.Parameter]:
        """What learns, by name; all else is frozen."""
        return {name: parameter for name, parameter in self.adapter.named_parameters() if parameter.requires_grad}

    def losses(self, view: FrozenView, labels: Int[Tensor, "b"], weights: Float[Tensor, "b"] | None = None) -> Losses:
        """The terms by name, and their sum, `loss`; labels index `class_names`. In evaluation mode the same.

        `weights` say how much each picture counts in cross-entropy; other terms know none.
        """
        view = self._own(view)
        text_out, image_out = self.text_out(view), self._image_out(view)
        classes, images = self.adapter.class_vectors(text_out, view), self.adapter.image_vectors(image_out)
        scores = self.adapter.scores(images, classes, self.scale)
        result = Result(images, classes, scores, self.scale, labels, view, image_out, text_out, weights)
        terms = {name: value for term in self.terms for name, value in term(result).items()}
        return {"loss": sum(terms.values(), torch.zeros((), device=classes.device)), **terms}

    def epoch_end(self, epoch: int, epochs: int) -> None:
        """Called after each epoch, counted from 1; the same epoch may be told twice."""
        for term in self.terms:
            assert isinstance(term, Term)
            term.epoch_end(self.adapter, epoch, epochs)

    def train(self, mode: bool = True) -> "Adapted":
        """Sets the mode of what learns; the encoder stays in evaluation mode."""
        super().train(mode)
        if isinstance(self.encoder, nn.Module):
            self.encoder.eval()
        return self

    # Using

    def for_classes(self, class_names: Names, *, twins: Names = ()) -> "Adapted":
        """The same adapter, shared and not copied, over other classes; two of them may share a name of `twins`.

        Raises:
            DataError: class names that cannot be, or that nothing was learned for.
        """
        adapter = self.adapter.for_names(tuple(class_names))
        terms = [term for term in self.terms if isinstance(term, Term)]
        keep = self.frozen_text.keep
        return Adapted(self.encoder, adapter, class_names, config=self.config, terms=terms, keep=keep, twins=twins)

    def for_task(self, task: str) -> "Adapted":
        """The same adapter at work on another of its tasks, over its classes; with the adapter's own terms.

        Raises:
            ConfigError: there is no such task.
        """
        adapter, keep = self.adapter.for_task(task), self.frozen_text.keep
        config = replace(cast(Foreign, self.config), task=task)
        names, terms = adapter.tasks[task], adapter.terms()
        return Adapted(self.encoder, adapter, names, config=config, terms=terms, keep=keep, twins=self.twins)

    @torch.no_grad()
    def head(self) -> "Head":
        """Class vectors and image change as they are now, as constants.

        Raises:
            ConfigError: the class vectors depend on the picture (CoCoOp).
        """
        return Head(self)


class Head(nn.Module):
    """A classifier with its class vectors and its change of the image tower as constants; made by `Adapted.head`."""

    def __init__(self, adapted: Adapted) -> None:
        super().__init__()
        self.adapter = copy.deepcopy(adapted.adapter).requires_grad_(False).eval()
        self.image: ImageTower = adapted.encoder.image
        self.scale: Tensor
        self.classes: Tensor
        view = adapted.see(NoPictures(method_name(self.adapter)))
        with torch.autocast(adapted.encoder.logit_scale.device.type, enabled=False):
            self.register_buffer("classes", adapted.class_features(view))
            self.register_buffer("scale", adapted.scale)
            self.change = self.adapter.image_change(view)

    def logits(self, view: FrozenView) -> Float[Tensor, "b c"]:
        """One score a picture and class."""
        return self._scores(view.states(self.change.start))

    def forward(self, pixels: Pixels) -> Float[Tensor, "b c"]:
        """The logits of preprocessed pictures, those of `Adapted` when this was made; no softmax yet."""
        return self._scores(self.image.below(pixels, self.change.start))

    def _scores(self, states: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
        images = self.adapter.image_vectors(self.image.above(states, self.change))
        return self.adapter.scores(images, self.classes, self.scale)["logits"]


def build(
    config: MethodConfig,
    encoder: DualEncoder,
    class_names: Names,
    *,
    seed: int = 0,
    extra: Sequence[TermConfig] = (),
    keep: bool = False,
    twins: Names = (),
) -> Adapted:
    """An untrained method over some classes.

    Args:
        config: of the method, as in `maple.Config(depth=3)`.
        encoder: the frozen encoder.
        class_names: in the order of the scores.
        seed: of its random start.
        extra: terms beside the method's own.
        keep: whether vectors of many sentences are kept on disk.
        twins: names that two classes may share, because the published set has it so (`Labelled.twins`).

    Raises:
        ConfigError: settings that do not fit the encoder. DataError: class names that cannot be.
    """
    names = check_class_names(class_names, twins=twins)
    adapter = config.build(encoder, names, torch.Generator().manual_seed(seed))
    terms = combined(adapter.terms(), [one.build(adapter) for one in extra])
    return Adapted(encoder, adapter, names, config=config, terms=terms, keep=keep, twins=twins)
