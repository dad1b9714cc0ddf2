"""`align` from settings to a run folder: caches filled, CAMPE trained, held-out sets scored, model saved.

Captioned pictures train both sides; pairs of sentences with a score train the text side alone (runs/sentences.py).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.campe.cache import ImageTokens
from polyprompt.campe.model import CAMPE, build
from polyprompt.campe.objective import Batch, Objective
from polyprompt.campe.text import join
from polyprompt.data.copies import warn_of_copies
from polyprompt.data.items import Pairs, Scored
from polyprompt.data.read import read_pairs, read_scored
from polyprompt.data.source import kinds_of, open_source
from polyprompt.disk.files import digest
from polyprompt.errors import ImageError
from polyprompt.evaluate.aspects import centred_cosine, redundancy
from polyprompt.evaluate.retrieval import recall
from polyprompt.media.frames import over_frames
from polyprompt.nn.memory import kept_memory
from polyprompt.nn.precision import choose_precision
from polyprompt.nn.tree import without_words
from polyprompt.progress import say, track
from polyprompt.runs import sentences
from polyprompt.runs.folder import RunFolder, absolute, open_run
from polyprompt.runs.groups import parameter_groups
from polyprompt.runs.processes import device, is_main_process, processes
from polyprompt.runs.settings import AlignSettings
from polyprompt.runs.start import start_from
from polyprompt.runs.texts import BLOCK, Texts, numbers_of, prepare_texts
from polyprompt.runs.work import Work
from polyprompt.towers.llm import PACKAGED
from polyprompt.towers.vanilla import PREFIX
from polyprompt.train.batches import Batches
from polyprompt.train.loop import EPOCH_SECONDS, TrainSettings, fit
from polyprompt.values import Json, Values


@dataclass(frozen=True)
class Prepared:
    """Pairs with what the frozen parts make of them: from the cache, or computed anew for each batch."""

    model: CAMPE
    pairs: Pairs
    texts: Texts
    tokens: ImageTokens | None
    mirrored: bool = False
    """Whether picture i has a second view, item i + n of n pictures: the same mirrored."""
    dropped_words: float = 0.0

    def pixels(self, item: int) -> Float[Tensor, "f 3 height width"]:
        """Picture `item`, preprocessed; a video frame by frame; behind the last picture their mirrored views."""
        picture = self.pairs.images[item % len(self.pairs.images)]
        try:
            frames = picture.frames(self.model.settings.image.frames)
            pixels = torch.stack([self.model.preprocess(frame) for frame in frames])
        except ImageError as error:
            raise ImageError(picture.key, error.why) from None
        return pixels.flip(-1) if item >= len(self.pairs.images) else pixels

    def frames(self, items: Sequence[int]) -> list[int]:
        """How many frames each of these pictures has."""
        several = self.model.settings.image.frames
        images = self.pairs.images
        return [several if images[item % len(images)].moves else 1 for item in items]

    def batch(self, captions: Sequence[int]) -> Batch:
        """Captions and the pictures they describe, for a step of training: views and drops are drawn anew."""
        images = [self.pairs.image_of[i] for i in captions]
        if self.mirrored:
            turned = torch.randint(2, (len(images),)).tolist()
            images = [image + len(self.pairs.images) * turn for image, turn in zip(images, turned, strict=True)]
        laid, hidden = self.texts.read(captions)
        if self.dropped_words:
            laid = without_words(laid, self.dropped_words)
        if self.tokens:
            return Batch(laid, hidden, self.tokens.read(images), None, self.frames(images))
        return Batch(laid, hidden, None, torch.cat([self.pixels(i) for i in images]), self.frames(images))


def prepare(model: CAMPE, pairs: Pairs, settings: AlignSettings, *, training: bool = False) -> Prepared:
    """Fills the caches of `pairs`; for training with what it alone wants: negated prompts, mirrored views.

    Raises:
        CacheError: over the cap, or no room. ImageError: a picture that cannot be read.
    """
    negations, mirrored = training and bool(settings.loss.negation), training and settings.mirrored
    texts, tokens = prepare_texts(model, pairs.captions, pairs.name, settings, negations=negations), None
    if settings.cache and not model.image.tower.trunk_trained:
        plain = Prepared(model, pairs, texts, None)
        digests = [picture.digest() for picture in pairs.images]
        digests += [digest(one, "mirrored") for one in digests] if mirrored else []
        frames = plain.frames(range(len(digests)))
        tokens = ImageTokens(model.image, plain.pixels, digests, frames, settings.cache_dtype)
        tokens.fill(settings.cache_gb)
    return Prepared(model, pairs, texts, tokens, mirrored, settings.dropped_words if training else 0.0)


@kept_memory()
@torch.no_grad()
def embed(data: Prepared, what: str) -> tuple[Float[Tensor, "t D"], Float[Tensor, "i D"], Float[Tensor, "t k d"]]:
    """Embeddings of all captions and pictures, and the captions' readouts."""
    model, images = data.model.eval(), []
    texts, reads = data.texts.embed(f"{what}: captions")
    for at in track(range(0, len(data.pairs.images), BLOCK), f"{what}: pictures"):
        part = range(at, min(at + BLOCK, len(data.pairs.images)))
        if data.tokens:
            segments, _ = model.image.segments(data.tokens.read(part).to(model.bias.device))
        else:
            segments, _ = model.image(torch.cat([data.pixels(i) for i in part]).to(model.bias.device))
        images.append(over_frames(join(segments), data.frames(part)))
    return texts, torch.cat(images).cpu(), reads


def score(
    texts: Float[Tensor, "t D"],
    images: Float[Tensor, "i D"],
    readouts: Float[Tensor, "t k d"],
    pairs: Pairs,
    segments: int,
) -> Json:
    """Recall in both directions, and how alike the K aspects are."""
    shape = (segments, -1)
    return {
        **recall(images, texts, torch.tensor(pairs.image_of)),
        "images": len(images),
        "captions": len(texts),
        "aspects": {
            "centred_cosine": centred_cosine(readouts),
            "redundancy": redundancy(texts.unflatten(1, shape), images.unflatten(1, shape)),
        },
    }


def align(settings: AlignSettings, out: Path, *, resume: bool = False) -> CAMPE:
    """Trains a model and leaves a run folder (runs/folder.py); a finished one is opened.

    Raises:
        PolypromptError: whatever is wrong with settings, data or disk; what was computed stays.
    """
    settings = _with_whole_paths(settings)
    with open_run("align", out, settings, resume=resume, outside=[settings.data]) as run:
        if run.finished:
            return CAMPE.from_pretrained(run.model).to(device())
        sets = _read_sets(settings)
        model = _trained(settings, sets, run, resume)
        if is_main_process():
            _finish(model, settings, sets.test, run)
        return model


def _with_whole_paths(settings: AlignSettings) -> AlignSettings:
    """The same, with the places of towers that lie in local folders said in full."""
    text, image = settings.text, settings.image
    if text.tower != PACKAGED:
        fresh, at, tower = text.tower.partition("@") if text.tower.startswith(PREFIX) else ("", "", text.tower)
        text = text.model_copy(update={"tower": f"{fresh}{at}{absolute(tower)}" if tower else text.tower})
    image = image.model_copy(update={"tower": absolute(image.tower)})
    start = settings.start_from and absolute(settings.start_from)
    return settings.model_copy(update={"text": text, "image": image, "start_from": start})


class Sets(NamedTuple):
    """The splits of a run; they are read together, so that each is read once, and a wrong one ends no long run."""

    train: Pairs | Scored
    dev: Pairs | Scored | None
    test: Pairs | Scored | None


def _trained(settings: AlignSettings, sets: Sets, run: RunFolder, resume: bool) -> CAMPE:
    precision = numbers_of(settings)
    if settings.precision == "auto":
        say(choose_precision(device().type).sentence)
    train, dev, _ = sets
    torch.manual_seed(settings.seed)
    dtype = "fp32" if settings.tower_dtype == "auto" and settings.precision == "fp32" else settings.tower_dtype
    model = build(settings.model_copy(update={"tower_dtype": dtype})).to(device())
    if settings.loss.bias is None:
        model.bias.data.fill_(balanced_bias(settings.batch))
    towers = {"text": model.text.llm.fingerprint, "image": model.image.tower.fingerprint}
    started = start_from(model, settings.start_from) if settings.start_from else None
    run.start({"towers": towers, "captions": _fingerprint(train), "start_from": started})
    if is_main_process():
        _warn_of_copies(settings, sets)
    with processes().main_process_first():  # the others read what the first has cached
        work = _work(model, train, dev, settings)
    if started is None:  # else it was fitted to what the earlier run had seen
        work.texts.fit_norm()
    score_dev = work.score_dev
    fit(
        work.objective,
        work.batches,
        TrainSettings(
            epochs=settings.epochs,
            seed=settings.seed,
            precision=precision,
            weight_decay=settings.weight_decay,
            epoch_seconds=EPOCH_SECONDS,
        ),
        run.folder,
        groups=parameter_groups(model, settings, work.objective),
        every_epoch=None if score_dev is None else lambda epoch: {"dev": score_dev()},
        resume=resume,
        since=run.since,
    )
    return model


def _read_sets(settings: AlignSettings) -> Sets:
    """What the splits of `data` hold."""
    if "scores" in kinds_of(settings.data):
        source = open_source(settings.data, "scores")
        read: Callable[[str | None], Pairs | Scored] = partial(read_scored, source)
    else:
        source = open_source(settings.data, "captions")
        read = partial(read_pairs, source, max_bad=settings.max_bad)
    dev, test = (read(split) if split else None for split in (settings.dev_split, settings.test_split))
    return Sets(read(settings.train_split), dev, test)


def _warn_of_copies(settings: AlignSettings, sets: Sets) -> None:
    """Before hours of training: what of the sets to be scored is trained on."""
    named = {settings.dev_split: sets.dev, settings.test_split: sets.test}
    scored = {f"{settings.data} {name}": data.images for name, data in named.items() if isinstance(data, Pairs)}
    if isinstance(sets.train, Pairs):
        warn_of_copies(settings.data, sets.train.images, scored)


def _work(model: CAMPE, train: Pairs | Scored, dev: Pairs | Scored | None, settings: AlignSettings) -> Work:
    """What a run does on its data, all of it read and cached."""
    if isinstance(train, Scored):
        return sentences.work(model, train, settings, None if dev is None else _scorer(model, dev, settings, "Dev"))
    data = prepare(model, train, settings, training=True)
    score_dev = None if dev is None else _scorer(model, dev, settings, "Dev")
    batches = Batches(fetch=data.batch, image_of=train.image_of, size=settings.batch, seed=settings.seed)
    return Work(Objective(model, settings.dropped_patches), data.texts, batches, score_dev)


def balanced_bias(batch: int) -> float:
    """Where a sigmoid loss begins balanced: b with (n - 1) sigma(b) = 1 - sigma(b), one pair against all negatives.

    SigLIP's -10 (Zhai et al. 2023, arXiv:2303.15343) is that of 22,000 negatives; at a few hundred it holds all
    cosines down until the bias has come up.
    """
    return -math.log(batch - 1)


def _fingerprint(data: Pairs | Scored) -> str:
    """Of texts, and scores or the names of pictures; the pictures' bytes are in the names of the caches."""
    if isinstance(data, Scored):
        return digest(*data.first, *data.second, *map(repr, data.scores))
    return digest(*data.captions, *(data.images[image].key for image in data.image_of))


def _finish(model: CAMPE, settings: AlignSettings, test: Pairs | Scored | None, run: RunFolder) -> None:
    scores: dict[str, Json] = {"retrieval": {}}
    if test is not None:
        kind = "sentences" if isinstance(test, Scored) else "retrieval"
        scores[kind] = {f"{settings.data} {settings.test_split}": evaluate(model, test, settings)}
    head = run.head()
    results = head | {"machine": f"{head['machine']}, {numbers_of(settings)}"} | scores
    run.finish(results, lambda folder: model.save_pretrained(folder, _card(settings, results)))


def evaluate(model: CAMPE, data: Pairs | Scored, settings: AlignSettings) -> Json:
    """Recall and aspects, or rank correlation, on a set that the model has not seen.

    The frozen pass runs in the precision that the model was trained with.
    """
    return _scorer(model, data, settings, data.name)()


def _scorer(model: CAMPE, data: Pairs | Scored, settings: AlignSettings, what: str) -> Callable[[], Json]:
    """Scores a set with the model as it then is; what is frozen is computed here, once."""
    if isinstance(data, Scored):
        return partial(sentences.score, sentences.prepare(model, data, settings), what)
    pairs = prepare(model, data, settings)
    return lambda: score(*embed(pairs, what), data, model.text.num_segments)


def _card(settings: AlignSettings, results: Values) -> str:
    lines = [
        f"# {settings.name}",
        "",
        f"A CAMPE model (arXiv:2508.02762): {settings.text.tower} and {settings.image.tower}, "
        f"{settings.dim} numbers in {settings.text.prompts if settings.text.readout == 'prompts' else 1} segments.",
        f"Trained with `{results['command']}` on {results['date']} ({results['machine']}).",
        "",
    ]
    for name, scores in results.get("sentences", {}).items():
        lines.append(f"- {name}, Spearman's correlation of {scores['pairs']} pairs: {scores['spearman']:.3f}")
    for name, scores in results["retrieval"].items():
        for way in ("image_to_text", "text_to_image"):
            figures = ", ".join(f"{k} {v:.3f}" for k, v in scores[way].items())
            lines.append(f"- {name}, {way.replace('_', ' ')}: {figures}")
    return "\n".join([*lines, "", 'Open it with `polyprompt.load("this folder")`.', ""])
