"""`adapt` from settings to a run folder: few pictures drawn, prompts trained, held-out pictures scored, adapter saved.

The published protocols: few-shot (all classes), base-to-novel (trained on the first half of the classes, scored on
both halves apart; Zhou et al. 2022, arXiv:2203.05557), cross-dataset (trained on all classes, then scored on other sets
with classes of their own). Settings that are not given are the authors' (research of their code: `PUBLISHED` in each
method's file). What differs by default: pictures are not changed at random, so that their way through the frozen part
of the image tower is gone once and kept on disk (adapt/frozen.py); `augment` brings the published crops back.
"""

from pathlib import Path

from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.descriptions import fingerprints
from polyprompt.adapt.engine import Adapted, build
from polyprompt.adapt.tasks import build_tasks
from polyprompt.data.copies import warn_of_copies
from polyprompt.data.items import Labelled
from polyprompt.evaluate.classify import harmonic_mean
from polyprompt.methods import ZERO_SHOT
from polyprompt.runs.draw import read_sets, read_tasks
from polyprompt.runs.folder import RunFolder, absolute, open_run
from polyprompt.runs.load import load_encoder
from polyprompt.runs.processes import device, is_main_process
from polyprompt.runs.resolve import AUTO, own_prompt, resolved
from polyprompt.runs.saved import config_from, load_adapter, save
from polyprompt.runs.settings import AdaptSettings
from polyprompt.runs.training import evaluate, selection, train, tune
from polyprompt.runs.untrained import configs_of, untrained
from polyprompt.towers.base import DualEncoder
from polyprompt.towers.encoder import Encoder
from polyprompt.values import Json


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
    pictures = [settings.data, *settings.task, settings.test, *settings.also]
    with open_run("adapt", out, settings, resume=resume, outside=pictures) as run:
        if run.finished:
            return Classifier(
                load_adapter(
                    run.model, _on_device(encoder or load_encoder(settings.encoder, tower_dtype=settings.tower_dtype))
                )
            )
        return Classifier(_trained(settings, run, resume, encoder))


def _trained(settings: AdaptSettings, run: RunFolder, resume: bool, encoder: Encoder | None) -> Adapted:
    if settings.task:
        return _trained_on_tasks(settings, run, resume, encoder)
    drawn, tests = read_sets(settings)
    encoder = _on_device(encoder or load_encoder(settings.encoder, tower_dtype=settings.tower_dtype))
    inputs = {"encoder": encoder.fingerprint, "drawn": _by_class(drawn)} | fingerprints(settings.descriptions)
    chosen: Json = {}
    if settings.method["name"] == AUTO:
        from polyprompt.runs.auto import choose

        run.start(inputs)
        settings, chosen = choose(settings, drawn, tests, encoder, run.folder, resume=resume)
    method = untrained(settings, encoder, drawn.class_names, keep=bool(settings.cache_gb), twins=drawn.twins)
    for data in tests.values():
        method.for_classes(data.class_names, twins=data.twins)  # names are checked here
    run.start(inputs)
    if is_main_process():
        warn_of_copies(settings.data, drawn.pictures, {name: data.pictures for name, data in tests.items()})
    chosen_on = selection(method, settings, tests)
    trained = train([(method, drawn)], settings, run.folder, resume=resume, since=run.since, chosen_on=chosen_on)
    tune(method, settings)
    scored = {
        name: evaluate(method.for_classes(data.class_names, twins=data.twins), data, settings.cache_gb)
        for name, data in tests.items()
    }
    figures = _figures(method, scored) | trained | chosen
    if settings.method["name"] != ZERO_SHOT or settings.descriptions is not None:
        own = {"test": settings.test or settings.data, "base": settings.data, "novel": settings.data}
        figures["zero_shot"] = {
            name: _zero_shot(encoder, own.get(name, name), data, settings.cache_gb) for name, data in tests.items()
        }
    if "novel" in tests:
        halves = (figures["classification"][half]["accuracy"] for half in ("base", "novel"))
        figures["harmonic_mean"] = harmonic_mean(*halves)
    if is_main_process():
        run.finish(run.head() | figures, lambda folder: save(method, folder))
    return method


def _trained_on_tasks(settings: AdaptSettings, run: RunFolder, resume: bool, encoder: Encoder | None) -> Adapted:
    """One adapter on several sets together; the first task is at work in what is saved."""
    drawn, tests = read_tasks(settings)
    encoder = _on_device(encoder or load_encoder(settings.encoder, tower_dtype=settings.tower_dtype))
    config, terms = configs_of(settings)
    names = {task: data.class_names for task, data in drawn.items()}
    twins = [name for data in drawn.values() for name in data.twins]
    keep = bool(settings.cache_gb)
    methods = build_tasks(config, encoder, names, seed=settings.seed, extra=terms, keep=keep, twins=twins)
    if is_main_process():
        for task, data in tests.items():
            warn_of_copies(settings.data, drawn[task].pictures, {task: data.pictures})
    by_task = {task: _by_class(data) for task, data in drawn.items()}
    run.start({"encoder": encoder.fingerprint, "drawn": by_task} | fingerprints(settings.descriptions))
    pairs, first = [(methods[task], drawn[task]) for task in methods], next(iter(methods.values()))
    trained = train(pairs, settings, run.folder, resume=resume, since=run.since)
    scored = {task: evaluate(methods[task], data, settings.cache_gb) for task, data in tests.items()}
    sources = dict(zip(tests, (settings.data, *settings.task), strict=True))
    zero_shot = {task: _zero_shot(encoder, sources[task], data, settings.cache_gb) for task, data in tests.items()}
    if is_main_process():
        figures = run.head() | _figures(first, scored) | trained | {"zero_shot": zero_shot}
        run.finish(figures, lambda folder: save(first, folder))
    return first


def _figures(method: Adapted, scored: Json) -> Json:
    """What results.json says of a trained method."""
    encoder = method.encoder
    return {
        "encoder": {"name": encoder.name, "fingerprint": encoder.fingerprint},
        "learned": sum(method.adapter.numbers().values()),
        "classification": scored,
    }


def _on_device(encoder: Encoder) -> Encoder:
    encoder.to(device())
    return encoder


def _zero_shot(encoder: DualEncoder, source: str, data: Labelled, cache_gb: float) -> Json:
    """What the encoder scores as it is, with one sentence a class: the set's published one, or the usual one."""
    config = config_from(ZERO_SHOT, own_prompt(ZERO_SHOT, source))
    plain = build(config, encoder, data.class_names, twins=data.twins)
    return evaluate(plain, data, cache_gb)


def _by_class(data: Labelled) -> dict[str, list[str]]:
    """The keys of a set's pictures, class by class."""
    keys: dict[str, list[str]] = {name: [] for name in data.class_names}
    for picture, label in zip(data.pictures, data.labels, strict=True):
        keys[data.class_names[label]].append(picture.key)
    return keys
