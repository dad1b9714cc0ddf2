"""`adapt` from settings to a run folder: few pictures drawn, prompts trained, held-out pictures scored, adapter saved.

The published protocols: few-shot (all classes), base-to-novel (trained on the first half of the classes, scored on
both halves apart; Zhou et al. 2022, arXiv:2203.05557), cross-dataset (trained on all classes, then scored on other sets
with classes of their own). Settings that are not given are the authors' (research of their code: `PUBLISHED` in each
method's file). What differs by default: pictures are not changed at random, so that their way through the frozen part
of the image tower is gone once and kept on disk (adapt/frozen.py); `augment` brings the published crops back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter
from polyprompt.adapt.best import Best
from polyprompt.adapt.classifier import Classifier, probabilities, scorer
from polyprompt.adapt.descriptions import RANDOM, read_descriptions, with_descriptions
from polyprompt.adapt.engine import Adapted, TermConfig, build
from polyprompt.adapt.published import NEAREST, UNTRAINED, Protocol, Published
from polyprompt.adapt.terms import Term
from polyprompt.adapt.view import KeptPictures, NoPictures, PixelPictures
from polyprompt.data.fewshot import base_and_novel, few_shot, hold_out, without
from polyprompt.data.items import Labelled
from polyprompt.data.read import read_labelled, splits_of
from polyprompt.data.transforms import crop_and_flip
from polyprompt.disk.files import sha256
from polyprompt.errors import ConfigError, UnknownNameError
from polyprompt.evaluate.classify import harmonic_mean, scores
from polyprompt.methods import config_of, module_of
from polyprompt.nn.precision import Precision, choose_precision
from polyprompt.progress import say, track
from polyprompt.runs.folder import RunFolder, absolute, open_run
from polyprompt.runs.load import load_encoder
from polyprompt.runs.processes import device, is_main_process
from polyprompt.runs.saved import config_from, load_adapter, save, term_from
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import merged
from polyprompt.towers.base import DualEncoder
from polyprompt.towers.encoder import Encoder
from polyprompt.train.batches import Batches
from polyprompt.train.loop import EPOCH_SECONDS, TrainSettings, fit
from polyprompt.values import Json, Values

AUTO, AUTO_SECONDS = "auto", 600.0
"""Stands for the method that does best on held-out training pictures (auto.py); its time, if no budget is given."""
BLOCK = 64
"""Pictures scored together."""


class Task(nn.Module):
    """A method as the loop calls it: a batch of pictures and labels to named losses; `best` is kept with it."""

    def __init__(self, adapted: Adapted, best: Best | None = None) -> None:
        super().__init__()
        self.adapted, self.best = adapted, best

    def forward(self, batch: Values) -> dict[str, Tensor]:
        """`pictures`, as pixels or as kept states, and `labels`."""
        return self.adapted.losses(self.adapted.see(batch["pictures"]), batch["labels"])


# Settings


def resolved(settings: AdaptSettings) -> AdaptSettings:
    """The same with everything said: the method's settings, and how it is trained.

    Raises:
        ConfigError: no such method, a setting that it does not have, or nothing published to fill a gap.
    """
    given = dict(settings.method)
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError("method has no name; say which, as in method.name=maple or --method maple")
    if name == AUTO:
        if given:
            raise ConfigError(f"method auto has no setting {next(iter(given))!r}; it takes each method as published")
        return settings.model_copy(update={"budget": settings.budget or AUTO_SECONDS})
    published = nearest(name, settings.protocol)
    config = config_from(name, merged(asdict(published.config), given) if published else given)
    terms = {
        term: asdict(term_from(term, values))  # pyright: ignore[reportArgumentType]
        for term, values in settings.terms.items()
    }
    select = settings.select or getattr(module_of(name), "SELECT", "last")
    update = {"method": {"name": name} | asdict(config), "terms": terms, "select": select}
    resolved = settings.model_copy(update=update)
    if getattr(module_of(name), "PUBLISHED", None) is UNTRAINED:
        return resolved
    resolved = resolved.model_copy(update=_training(resolved, name, published))
    for one in (config, *terms_of(resolved)):
        if (check := getattr(one, "check_epochs", None)) and resolved.epochs:
            check(resolved.epochs)
    return resolved


TRAINING = ("epochs", "batch", "rate", "optimizer", "weight_decay", "eps", "schedule", "crop")


def _training(settings: AdaptSettings, name: str, published: Published | None) -> Json:
    """What is open of how to train, as published."""
    theirs: Json = {}
    if published:
        theirs = {field: getattr(published, field) for field in TRAINING}
        theirs |= {"epochs": published.epochs_for(settings.shots), "steps": published.steps_for(settings.shots)}
    values = {field: theirs.get(field) for field in TRAINING if getattr(settings, field) is None}
    if settings.epochs is None and settings.steps is None:
        values["steps"] = theirs.get("steps")
    for field in ("epochs", "batch", "rate"):
        counted = field == "epochs" and (settings.steps or values.get("steps"))
        if field in values and values[field] is None and not counted:
            raise ConfigError(f"{field} is not given, and {name} publishes no settings to take it from")
    usual = {"optimizer": "sgd", "weight_decay": 5e-4, "eps": 1e-8, "schedule": "published", "crop": 0.08}
    return {field: usual.get(field) if value is None else value for field, value in values.items()}


def nearest(name: str, protocol: Protocol) -> Published | None:
    """The authors' settings for a protocol, or for the nearest that they published."""
    known = getattr(module_of(name), "PUBLISHED", {})
    return next((known[one] for one in NEAREST[protocol] if one in known), None)


def terms_of(settings: AdaptSettings) -> list[TermConfig]:
    """The configs of the terms beside the method's own."""
    return [term_from(name, values) for name, values in settings.terms.items()]


# Data


def read_sets(settings: AdaptSettings) -> tuple[Labelled, dict[str, Labelled]]:
    """The pictures to train on, and the sets to score: "test", or "base" and "novel"; and `also`, by their sources.

    Raises:
        DataError: too few pictures, classes that do not fit. ConfigError: nothing would be left to score.
    """
    drawn, held = draw(settings)
    tests = {source: read_labelled(source, _test_split(source, settings)) for source in settings.also}
    if settings.protocol != "base-to-novel":
        return drawn, {"test": held} | tests
    base, novel = base_and_novel(held)
    return base_and_novel(drawn)[0], {"base": base, "novel": novel} | tests


def draw(settings: AdaptSettings) -> tuple[Labelled, Labelled]:
    """Few pictures of all classes, and the held-out ones."""
    splits = splits_of(settings.data)
    pool, held = read_labelled(settings.data, settings.train_split if splits else None), None
    if settings.test is not None:
        held = read_labelled(settings.test, _test_split(settings.test, settings), class_names=pool.class_names)
    elif splits:
        try:
            held = read_labelled(settings.data, settings.test_split, class_names=pool.class_names)
        except UnknownNameError as error:
            raise ConfigError(f"{error} Say which one is scored: --set test_split=NAME") from None
    elif settings.held_out is not None:
        pool, held = hold_out(pool, settings.held_out)
    drawn = pool
    if settings.shots is not None:
        drawn = few_shot(pool, settings.shots, Random(settings.seed), take_fewer=settings.take_fewer)
    held = without(pool, drawn) if held is None else held
    if not held.pictures:
        raise ConfigError(
            f"{settings.data}: nothing is left to score, all {len(pool.pictures)} pictures are trained on. Give "
            "fewer shots, --held-out 0.2, or other pictures with --test."
        )
    return drawn, held


def _test_split(source: str, settings: AdaptSettings) -> str | None:
    return settings.test_split if splits_of(source) else None


# Training


def adapt(settings: AdaptSettings, out: Path, *, resume: bool = False, encoder: Encoder | None = None) -> Classifier:
    """Trains a classifier and leaves a run folder (runs/folder.py); a finished one is opened.

    Args:
        settings: what is not given is taken from the method's authors.
        out: the run folder.
        resume: go on with the run in `out`, if there is one.
        encoder: a `DualEncoder` that is open already, in place of opening `settings.encoder`.

    Raises:
        PolypromptError: whatever is wrong with settings, pictures or disk; what was computed stays.
    """
    settings = resolved(settings)
    places = {"encoder": absolute(settings.encoder)}
    if settings.descriptions is not None:
        places["descriptions"] = absolute(settings.descriptions)
    settings = settings.model_copy(update=places)
    pictures = [settings.data, settings.test, *settings.also]
    with open_run("adapt", out, settings, resume=resume, outside=pictures) as run:
        if run.finished:
            return Classifier(
                load_adapter(
                    run.model, _on_device(encoder or load_encoder(settings.encoder, tower_dtype=settings.tower_dtype))
                )
            )
        return Classifier(_trained(settings, run, resume, encoder))


def _trained(settings: AdaptSettings, run: RunFolder, resume: bool, encoder: Encoder | None) -> Adapted:
    drawn, tests = read_sets(settings)
    encoder = _on_device(encoder or load_encoder(settings.encoder, tower_dtype=settings.tower_dtype))
    inputs = {"encoder": encoder.fingerprint, "drawn": _by_class(drawn)} | _described(settings)
    told: Json = {}
    if settings.method["name"] == AUTO:
        from polyprompt.runs.auto import choose

        run.start(inputs)
        settings, told = choose(settings, drawn, tests, encoder, run.folder, resume=resume)
    method = untrained(settings, encoder, drawn.class_names, keep=bool(settings.cache_gb), twins=drawn.twins)
    for data in tests.values():
        method.for_classes(data.class_names, twins=data.twins)  # names are checked here
    run.start(inputs)
    chosen_on = selection(method, settings, tests)
    trained = train(method, drawn, settings, run.folder, resume=resume, since=run.since, chosen_on=chosen_on)
    tune(method, settings)
    scored = {
        name: evaluate(method.for_classes(data.class_names, twins=data.twins), data, settings.cache_gb)
        for name, data in tests.items()
    }
    figures: Json = (
        {
            "encoder": {"name": encoder.name, "fingerprint": encoder.fingerprint},
            "learned": sum(parameter.numel() for parameter in method.learned().values()),
            "classification": scored,
        }
        | trained
        | told
    )
    if settings.method["name"] != "zeroshot" or settings.descriptions is not None:
        figures["zero_shot"] = {name: _zero_shot(encoder, data, settings.cache_gb) for name, data in tests.items()}
    if "novel" in tests:
        halves = (figures["classification"][half]["accuracy"] for half in ("base", "novel"))
        figures["harmonic_mean"] = harmonic_mean(*halves)
    if is_main_process():
        run.finish(run.head() | figures, lambda folder: save(method, folder))
    return method


def _described(settings: AdaptSettings) -> dict[str, str]:
    """The hash of a file of descriptions, which may change while its name stays."""
    source = settings.descriptions
    return {} if source is None or source.startswith(RANDOM) else {"descriptions": sha256(source)}


def _on_device(encoder: Encoder) -> Encoder:
    encoder.to(device())
    return encoder


def _zero_shot(encoder: DualEncoder, data: Labelled, cache_gb: float) -> Json:
    """What the encoder scores as it is, with one sentence a class."""
    plain = build(config_of("zeroshot")(), encoder, data.class_names, twins=data.twins)
    return evaluate(plain, data, cache_gb)


def untrained(
    settings: AdaptSettings,
    encoder: DualEncoder,
    class_names: Sequence[str],
    *,
    keep: bool = False,
    twins: Sequence[str] = (),
) -> Adapted:
    """The method of resolved settings, untrained."""
    named = dict(settings.method)
    config, *terms = [config_from(named.pop("name"), named), *terms_of(settings)]
    if settings.descriptions is not None:
        found = read_descriptions(settings.descriptions, settings.seed)
        config, *terms = with_descriptions([config, *terms], found)
    return build(config, encoder, class_names, seed=settings.seed, extra=terms, keep=keep, twins=twins)


def train(
    adapted: Adapted,
    data: Labelled,
    settings: AdaptSettings,
    out: Path,
    *,
    resume: bool,
    since: float | None = None,
    chosen_on: Labelled | None = None,
) -> Json:
    """Trains a method in place, from resolved settings; `out` and `since` as in `fit`.

    Args:
        chosen_on: the epoch that scores best on these pictures stays; None: the last one.

    Returns:
        What results.json says of it: `selected`, which epoch stayed; `ended_early`, where a budget was over.

    Raises:
        TrainingError: a loss or gradient is not finite. FileError, CacheError: no room.
    """
    kept, labels = KeptPictures(adapted.encoder, data.pictures, settings.cache_gb), torch.tensor(data.labels)
    look_at(adapted, kept, labels, settings.crop if settings.augment else None)
    if not (learned := list(adapted.learned().values())):
        return {}
    assert settings.batch is not None
    crop = settings.crop or 0.08 if settings.augment else None
    fetch = partial(_fetched, kept, labels, crop, max(cast(Term, term).views for term in adapted.terms))
    batches = Batches(fetch=fetch, image_of=range(len(labels)), size=settings.batch, seed=settings.seed)
    epochs = settings.epochs or -(-(settings.steps or 0) // len(batches))
    best = Best(adapted.adapter) if chosen_on else None

    def every_epoch(epoch: int) -> Json:
        adapted.epoch_end(epoch, epochs)
        return offered(epoch)

    def offered(epoch: int) -> Json:
        if best is None or chosen_on is None:
            return {}
        score = evaluate(adapted, chosen_on, settings.cache_gb)["accuracy"]
        best.offer(adapted.adapter, epoch, score)
        return {"selection": score}

    at = fit(
        Task(adapted, best),
        batches,
        _how(settings, epochs, adapted.encoder.logit_scale.device),
        out,
        groups=[{"params": learned, "lr": settings.rate, "name": "prompts"}],
        every_epoch=every_epoch,
        resume=resume,
        since=since,
    )
    if at.epoch <= epochs:  # a budget ended it: what was begun of an epoch counts as the last one
        last = at.epoch if at.batch else at.epoch - 1
        adapted.epoch_end(last, last)
        offered(last)
    early: Json = {"ended_early": {"step": at.step, "of": epochs * len(batches), "seconds": settings.budget}}
    facts = early if at.epoch <= epochs else {}
    if best is None:
        return facts
    best.restore(adapted.adapter)
    return facts | {"selected": {"on": settings.select, "epoch": int(best.epoch), "accuracy": float(best.score)}}


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


def selection(adapted: Adapted, settings: AdaptSettings, tests: Mapping[str, Labelled]) -> Labelled | None:
    """The pictures on which an epoch is chosen; None: the last one stays.

    Raises:
        ConfigError: `select` is val and there are none.
    """
    if settings.select == "authors-test":
        name = next(iter(tests))
        say(f"select=authors-test: the epoch is chosen on {name}, which is then scored; it says less than it seems to.")
        return tests[name]
    if settings.select != "val":
        return None
    found = validation(settings, adapted.class_names)
    if found is None and type(adapted.adapter).tune is Adapter.tune:
        raise ConfigError(
            f"select is 'val', and {settings.data} has no split {settings.val_split!r}; name another with val_split, "
            "or leave select out"
        )
    if found is None:
        say(f"{settings.data} has no split {settings.val_split!r} to choose on: the last epoch and the weights stay.")
    return found


def validation(settings: AdaptSettings, class_names: Sequence[str]) -> Labelled | None:
    """The validation pictures of the classes that are trained, where there are some, with the labels of training."""
    if settings.val_split not in splits_of(settings.data):
        return None
    found = read_labelled(settings.data, settings.val_split)
    if found.class_names == tuple(class_names):
        return found
    names = [found.class_names[label] for label in found.labels]
    kept = [(one, name) for one, name in zip(found.pictures, names, strict=True) if name in class_names]
    labels = tuple(class_names.index(name) for _, name in kept)
    return replace(found, pictures=tuple(one for one, _ in kept), labels=labels, class_names=tuple(class_names))


def _fetched(kept: KeptPictures, labels: Int[Tensor, "n"], crop: float | None, views: int, items: list[int]) -> Json:
    """A batch: kept states, or with `crop` the pixels of one or two random views of each picture."""
    if crop is None:
        return {"pictures": kept.of(items), "labels": labels[items]}
    pixels = [torch.stack([random_view(kept, item, crop) for item in items]) for _ in range(views)]
    return {"pictures": PixelPictures(kept.encoder, *pixels), "labels": labels[items]}


def look_at(adapted: Adapted, kept: KeptPictures, labels: Int[Tensor, "n"], crop: float | None) -> None:
    """Shows all training pictures at once to terms, their labels, and to a method that wants to see them: random views,
    or, without `crop`, one."""
    for term in adapted.terms:
        assert isinstance(term, Term)
        term.look_at(labels, adapted.class_names)
    if type(adapted.adapter).look_at is Adapter.look_at:
        return
    views = [vectors_of(kept, crop) for _ in range(adapted.adapter.views if crop else 1)]
    adapted.adapter.look_at(torch.stack(views), labels.to(views[0].device))


def vectors_of(kept: KeptPictures, crop: float | None = None) -> Float[Tensor, "n D"]:
    """The frozen vectors of a set; with `crop`, of a random view of each picture."""
    encoder, count = kept.encoder, len(kept.pictures)
    if crop is None:
        return torch.cat([kept.of(part).states(None) for part in in_parts(count)])
    parts = (torch.stack([random_view(kept, item, crop) for item in part]) for part in in_parts(count))
    return torch.cat([PixelPictures(encoder, pixels).states(None) for pixels in parts])


def random_view(kept: KeptPictures, item: int, crop: float) -> Float[Tensor, "3 height width"]:
    """A random crop of a picture, mirrored half of the time, preprocessed."""
    return crop_and_flip(kept.pictures[item].open(), kept.encoder.image.preprocess, crop)


@torch.no_grad()
def tune(adapted: Adapted, settings: AdaptSettings) -> None:
    """Lets a method that wants to see validation pictures do so, where there are some: of the classes it trained on."""
    if type(adapted.adapter).tune is Adapter.tune or (found := validation(settings, adapted.class_names)) is None:
        return
    kept, view = (
        KeptPictures(adapted.encoder, found.pictures, settings.cache_gb),
        adapted.see(NoPictures(settings.method["name"])),
    )
    images, labels = vectors_of(kept), torch.tensor(found.labels)
    adapted.eval().adapter.tune(images, labels.to(images.device), adapted.class_features(view), float(adapted.scale))


def in_parts(count: int) -> list[range]:
    """Pictures a few at a time."""
    return [range(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)]


def evaluate(adapted: Adapted, data: Labelled, cache_gb: float) -> Json:
    """Scores of a method on pictures of its own classes (evaluate/classify.py), computed in fp32."""
    adapted.eval()
    kept, by = KeptPictures(adapted.encoder, data.pictures, cache_gb), scorer(adapted)
    parts = track(in_parts(len(data.pictures)), data.name)
    found = [probabilities(by, adapted.see(kept.of(part))) for part in parts]
    return scores(torch.cat(found), torch.tensor(data.labels), data.class_names)


def _precision(settings: AdaptSettings, device: torch.device) -> Precision:
    if settings.precision != "auto":
        return settings.precision
    choice = choose_precision(device.type)
    say(choice.sentence)
    return choice.precision


def _by_class(data: Labelled) -> dict[str, list[str]]:
    """The keys of a set's pictures, class by class."""
    found: dict[str, list[str]] = {name: [] for name in data.class_names}
    for picture, label in zip(data.pictures, data.labels, strict=True):
        found[data.class_names[label]].append(picture.key)
    return found
