"""A method of `adapt` trained on labelled pictures, tuned on others, and scored."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias, cast

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter
from polyprompt.adapt.best import Best
from polyprompt.adapt.classifier import probabilities, scorer
from polyprompt.adapt.engine import Adapted
from polyprompt.adapt.terms import CrossEntropy, Term
from polyprompt.adapt.view import KeptPictures, NoPictures, PixelPictures
from polyprompt.data.domainbed import by_domain
from polyprompt.data.items import Labelled
from polyprompt.data.transforms import View, crop_and_flip, rand_augment
from polyprompt.errors import ConfigError
from polyprompt.evaluate.classify import scores
from polyprompt.nn.precision import Precision, choose_precision
from polyprompt.progress import say, track
from polyprompt.runs.draw import validation
from polyprompt.runs.settings import AdaptSettings
from polyprompt.train.batches import Batches
from polyprompt.train.loop import EPOCH_SECONDS, TrainSettings, fit
from polyprompt.values import Json, Values

BLOCK = 64
"""Pictures scored together."""
Facts: TypeAlias = Mapping[str, Shaped[Tensor, "_"]]
"""What is known of each training picture: `labels`, perhaps `weights`."""


class Tasks(nn.Module):
    """Methods on one adapter that learn a task each, as the loop calls them; all but the first are told its mode."""

    def __init__(self, adapted: Sequence[Adapted]) -> None:
        super().__init__()
        self.adapted, self.others = adapted[0], tuple(adapted[1:])

    def forward(self, batch: Mapping[int, Values]) -> dict[str, Tensor]:
        """A batch by the task's number; the mean over pictures, whatever their task."""
        methods = (self.adapted, *self.others)
        total = sum(len(part["labels"]) for part in batch.values())
        losses: dict[str, Tensor] = {}
        for number, part in batch.items():
            for name, value in methods[number].losses(methods[number].see(part["pictures"]), part["labels"]).items():
                losses[name] = losses.get(name, torch.zeros_like(value)) + value * (len(part["labels"]) / total)
        idle = sum(parameter.sum() for parameter in self.adapted.learned().values())
        return losses | {"loss": losses["loss"] + 0 * idle}  # so that what no picture reached has a gradient, 0

    def train(self, mode: bool = True) -> "Tasks":
        """Puts every task's method into this mode, as `nn.Module.train` does."""
        for one in self.others:
            one.train(mode)
        return super().train(mode)


class Task(nn.Module):
    """A method as the loop calls it: a batch of pictures and labels to named losses; `best` is kept with it."""

    def __init__(self, adapted: Adapted, best: Best | None = None) -> None:
        super().__init__()
        self.adapted, self.best = adapted, best

    def forward(self, batch: Values) -> dict[str, Tensor]:
        """`pictures`, as pixels or as kept states, `labels`, and perhaps `weights`."""
        return self.adapted.losses(self.adapted.see(batch["pictures"]), batch["labels"], batch.get("weights"))


def train(
    tasks: Sequence[tuple[Adapted, Labelled]],
    settings: AdaptSettings,
    out: Path,
    *,
    resume: bool,
    since: float | None = None,
    chosen_on: Sequence[Labelled] = (),
    weights: Float[Tensor, "n"] | None = None,
) -> Json:
    """Trains a method in place, from resolved settings; `out` and `since` as in `fit`.

    Args:
        tasks: the method and its pictures; of several tasks, methods on one adapter, and batches drawn from all.
        chosen_on: the epoch that scores best on these sets in the mean stays; none: the last one.
        weights: how much each picture counts in cross-entropy, of one task; None: all alike.

    Returns:
        What results.json says of it: `selected`, which epoch stayed; `ended_early`, where a budget was over.

    Raises:
        ConfigError: weights for a method that learns by no cross-entropy of its own, or learns nothing.
        TrainingError: a loss or gradient is not finite. FileError, CacheError: no room.
    """
    methods, adapted = [method for method, _ in tasks], tasks[0][0]
    sets = _shown(tasks, settings, weights)
    if not (learned := list(adapted.learned().values())):
        return {}
    batches = _batches(methods, sets, settings)
    epochs = epochs_of(settings, len(batches))
    best = Best(adapted.adapter) if chosen_on else None
    offered = partial(_offered, adapted, best, chosen_on, settings.cache_gb)

    def every_epoch(epoch: int) -> Json:
        adapted.epoch_end(epoch, epochs)
        return offered(epoch)

    at = fit(
        Tasks(methods) if len(methods) > 1 else Task(adapted, best),
        batches,
        _how(settings, epochs, adapted.encoder.logit_scale.device),
        out,
        groups=[{"params": learned, "lr": settings.rate, "name": "prompts"}],
        every_epoch=every_epoch,
        resume=resume,
        since=since,
    )
    facts: Json = {}
    if at.epoch <= epochs:  # a budget ended it: what was begun of an epoch counts as the last one
        last = at.epoch if at.batch else at.epoch - 1
        adapted.epoch_end(last, last)
        offered(last)
        facts = {"ended_early": {"step": at.step, "of": epochs * len(batches), "seconds": settings.budget}}
    if best is not None:
        best.restore(adapted.adapter)
        facts |= {"selected": {"on": settings.select, "epoch": int(best.epoch), "accuracy": float(best.score)}}
    return facts


def epochs_of(settings: AdaptSettings, batches: int) -> int:
    """Epochs of so many batches; `steps` are rounded up to whole ones."""
    return settings.epochs or -(-(settings.steps or 0) // batches)


def _offered(adapted: Adapted, best: Best | None, chosen_on: Sequence[Labelled], cache_gb: float, epoch: int) -> Json:
    """What the log says of an epoch that may be the best one."""
    if best is None:
        return {}
    score = sum(evaluate(adapted, one, cache_gb)["accuracy"] for one in chosen_on) / len(chosen_on)
    best.offer(adapted.adapter, epoch, score)
    return {"selection": score}


def _shown(
    tasks: Sequence[tuple[Adapted, Labelled]], settings: AdaptSettings, weights: Float[Tensor, "n"] | None
) -> list[tuple[KeptPictures, Facts]]:
    """The training pictures of each task, once its method has looked at them, and what is known of them.

    Raises:
        ConfigError: weights, and no cross-entropy that could use them.
    """
    first = tasks[0][0]
    if weights is not None and not (first.learned() and any(isinstance(t, CrossEntropy) for t in first.terms)):
        raise ConfigError(
            f"{settings.method['name']}: its pictures cannot be weighed, for no plain cross-entropy trains it; "
            "leave the weights out, or use another method"
        )
    view, shown = view_of(settings), list[tuple[KeptPictures, Facts]]()
    for method, data in tasks:
        kept, labels = KeptPictures(method.encoder, data.pictures, settings.cache_gb), torch.tensor(data.labels)
        fit_untrained(method, kept, labels, view)
        shown.append((kept, {"labels": labels} | ({} if weights is None else {"weights": weights})))
    return shown


def _batches(
    methods: Sequence[Adapted], sets: Sequence[tuple[KeptPictures, Facts]], settings: AdaptSettings
) -> Batches:
    """Of kept states; with `augment`, of as many random views as the terms ask for. Of several tasks, by number."""
    assert settings.batch is not None
    views = max(cast(Term, term).views for method in methods for term in method.terms)
    parts = [partial(_fetched, kept, facts, view_of(settings), views) for kept, facts in sets]
    counts = [len(kept.pictures) for kept, _ in sets]
    fetch = parts[0] if len(parts) == 1 else partial(_by_task, parts, counts)
    return Batches(fetch=fetch, image_of=range(sum(counts)), size=settings.batch, seed=settings.seed)


def _by_task(parts: Sequence[Callable[[list[int]], Json]], counts: Sequence[int], items: list[int]) -> dict[int, Json]:
    """The batch of each task that has items in it; tasks' pictures are counted one after the other."""
    firsts = [sum(counts[:number]) for number in range(len(counts))]
    of_task = [
        [item - first for item in items if 0 <= item - first < count]
        for first, count in zip(firsts, counts, strict=True)
    ]
    return {number: part(items) for number, (part, items) in enumerate(zip(parts, of_task, strict=True)) if items}


def _how(settings: AdaptSettings, epochs: int, device: torch.device) -> TrainSettings:
    """Resolved settings as the loop takes them."""
    assert settings.optimizer is not None
    assert settings.schedule is not None
    return TrainSettings(
        epochs=epochs,
        optimizer=settings.optimizer,
        weight_decay=settings.weight_decay or 0.0,
        eps=settings.eps or 1e-8,
        schedule=settings.schedule,
        clip=None,
        precision=_precision(settings, device),
        seed=settings.seed,
        epoch_seconds=EPOCH_SECONDS,
        seconds=settings.budget,
    )


def selection(adapted: Adapted, settings: AdaptSettings, tests: Mapping[str, Labelled]) -> list[Labelled]:
    """The sets on which an epoch is chosen, each domain by itself for DomainBed; none: the last one stays.

    Raises:
        ConfigError: `select` is val and there are none.
    """
    if settings.select == "authors-test":
        name = next(iter(tests))
        say(f"select=authors-test: the epoch is chosen on {name}, which is then scored; it says less than it seems to.")
        return [tests[name]]
    if settings.select != "val":
        return []
    held = validation(settings, adapted.class_names)
    if held is None and type(adapted.adapter).tune is Adapter.tune:
        raise ConfigError(
            f"select is 'val', and {settings.data} has no split {settings.val_split!r}; name another with val_split, "
            "or leave select out"
        )
    if held is None:
        say(f"{settings.data} has no split {settings.val_split!r} to choose on: the last epoch and the weights stay.")
        return []
    return by_domain(held) if settings.domainbed else [held]


def view_of(settings: AdaptSettings) -> View | None:
    """How training pictures are changed at random; None: not at all."""
    if not settings.augment:
        return None
    return rand_augment if settings.views == "randaugment" else partial(crop_and_flip, least=settings.crop or 0.08)


def _fetched(kept: KeptPictures, facts: Facts, view: View | None, views: int, items: list[int]) -> Json:
    """A batch: kept states, or with `view` the pixels of one or two random views of each picture."""
    known = {name: of_all[items] for name, of_all in facts.items()}
    if view is None:
        return {"pictures": kept.of(items)} | known
    pixels = [seen(kept, items, view) for _ in range(views)]
    return {"pictures": PixelPictures(kept.encoder, *pixels)} | known


def fit_untrained(adapted: Adapted, kept: KeptPictures, labels: Int[Tensor, "n"], view: View | None) -> None:
    """Shows all training pictures at once to terms, their labels, and to a method that wants to see them: random views,
    or, without `view`, one."""
    for term in adapted.terms:
        assert isinstance(term, Term)
        term.fit(labels, adapted.class_names)
    if type(adapted.adapter).fit is Adapter.fit:
        return
    views = [vectors_of(kept, view) for _ in range(adapted.adapter.views if view else 1)]
    adapted.adapter.fit(torch.stack(views), labels.to(views[0].device))


def vectors_of(kept: KeptPictures, view: View | None = None) -> Float[Tensor, "n D"]:
    """The frozen vectors of a set; with `view`, of a random view of each picture."""
    encoder, count = kept.encoder, len(kept.pictures)
    if view is None:
        return torch.cat([kept.of(part).states(None) for part in in_parts(count)])
    parts = (seen(kept, part, view) for part in in_parts(count))
    return torch.cat([PixelPictures(encoder, pixels).states(None) for pixels in parts])


def seen(kept: KeptPictures, items: Sequence[int], view: View) -> Float[Tensor, "b 3 height width"]:
    """Random views of some pictures."""
    return torch.stack([view(kept.pictures[item].open(), kept.encoder.image.preprocess) for item in items])


@torch.no_grad()
def tune(adapted: Adapted, settings: AdaptSettings) -> None:
    """Lets a method that wants to see validation pictures do so, where there are some: of the classes it trained on."""
    if type(adapted.adapter).tune is Adapter.tune or (held := validation(settings, adapted.class_names)) is None:
        return
    kept, view = (
        KeptPictures(adapted.encoder, held.pictures, settings.cache_gb),
        adapted.see(NoPictures(settings.method["name"])),
    )
    images, labels = vectors_of(kept), torch.tensor(held.labels)
    adapted.eval().adapter.tune(images, labels.to(images.device), adapted.class_features(view), float(adapted.scale))


def in_parts(count: int) -> list[range]:
    """Pictures a few at a time."""
    return [range(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)]


def evaluate(adapted: Adapted, data: Labelled, cache_gb: float) -> Json:
    """Scores of a method on pictures of its own classes (evaluate/classify.py), computed in fp32."""
    adapted.eval()
    kept, by = KeptPictures(adapted.encoder, data.pictures, cache_gb), scorer(adapted)
    parts = track(in_parts(len(data.pictures)), data.name)
    rows = [probabilities(by, adapted.see(kept.of(part))) for part in parts]
    return scores(torch.cat(rows), torch.tensor(data.labels), data.class_names)


def _precision(settings: AdaptSettings, device: torch.device) -> Precision:
    if settings.precision != "auto":
        return settings.precision
    choice = choose_precision(device.type)
    say(choice.sentence)
    return choice.precision
