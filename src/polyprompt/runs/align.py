"""`align` from settings to a run folder: caches filled, CAMPE trained, held-out sets scored, model saved."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.campe.cache import ImageTokens, TextStates
from polyprompt.campe.model import CAMPE, build
from polyprompt.campe.objective import Batch, Objective
from polyprompt.campe.text import join
from polyprompt.data.items import Pairs
from polyprompt.data.read import read_pairs
from polyprompt.disk.files import digest
from polyprompt.errors import ImageError
from polyprompt.evaluate.aspects import centred_cosine, redundancy
from polyprompt.evaluate.retrieval import recall
from polyprompt.media.frames import over_frames
from polyprompt.nn.memory import kept_memory
from polyprompt.nn.precision import Precision, choose_precision
from polyprompt.nn.tree import Sequences, sequences
from polyprompt.progress import say, track
from polyprompt.runs.folder import RunFolder, absolute, open_run
from polyprompt.runs.groups import parameter_groups
from polyprompt.runs.processes import device, is_main_process, processes
from polyprompt.runs.settings import AlignSettings
from polyprompt.runs.start import start_from
from polyprompt.towers.llm import PACKAGED
from polyprompt.train.batches import Batches
from polyprompt.train.loop import EPOCH_SECONDS, TrainSettings, fit
from polyprompt.types import Hidden
from polyprompt.values import Json, Values

BLOCK = 128
"""Captions or pictures scored together."""

FITTED_TO = 512
"""Captions whose read-outs a fitted norm is fitted to."""


@dataclass(frozen=True)
class Prepared:
    """Pairs with what the frozen parts make of them: from the cache, or computed anew for each batch."""

    model: CAMPE
    pairs: Pairs
    ids: list[list[int]]
    states: TextStates | None
    tokens: ImageTokens | None
    negations: bool

    def pixels(self, item: int) -> Float[Tensor, "f 3 height width"]:
        """Picture `item`, preprocessed; a video frame by frame."""
        picture = self.pairs.images[item]
        try:
            frames = picture.frames(self.model.settings.image.frames)
            return torch.stack([self.model.preprocess(frame) for frame in frames])
        except ImageError as error:
            raise ImageError(picture.key, error.why) from None

    def frames(self, items: Sequence[int]) -> list[int]:
        """How many frames each of these pictures has."""
        several = self.model.settings.image.frames
        return [several if self.pairs.images[item].moves else 1 for item in items]

    def batch(self, captions: Sequence[int]) -> Batch:
        """Captions and the pictures they describe."""
        images = [self.pairs.image_of[i] for i in captions]
        laid, hidden = self.texts(captions)
        if self.tokens:
            return Batch(laid, hidden, self.tokens.read(images), None, self.frames(images))
        return Batch(laid, hidden, None, torch.cat([self.pixels(i) for i in images]), self.frames(images))

    def texts(self, captions: Sequence[int]) -> tuple[Sequences, Hidden | None]:
        """Captions laid out, and their cached states if there are any."""
        if self.states:
            return self.states.read(captions)
        tree = self.model.text.tree if self.negations else self.model.text.tree.positive()
        return sequences([self.ids[i] for i in captions], tree), None


def prepare(model: CAMPE, pairs: Pairs, settings: AlignSettings, *, negations: bool = False) -> Prepared:
    """Fills the caches of `pairs`; `negations` says whether the negated prompts are wanted too.

    Raises:
        CacheError: over the cap, or no room. ImageError: a picture that cannot be read.
    """
    ids, cut = model.text.llm.tokens(pairs.captions, settings.text.max_tokens)
    if cut:
        say(f"{pairs.name}: {cut} of {len(ids)} captions were cut to {settings.text.max_tokens} tokens.")
    states = tokens = None
    if settings.cache and model.text.cacheable:
        tree = model.text.tree if negations else model.text.tree.positive()
        bf16 = numbers_of(settings) == "bf16"
        states = TextStates(model.text.llm, model.text.split, ids, tree, settings.cache_dtype, bf16)
        states.fill(settings.cache_gb)
    if settings.cache and not model.image.tower.trunk_trained:
        plain = Prepared(model, pairs, ids, None, None, negations)
        digests = [picture.digest() for picture in pairs.images]
        frames = plain.frames(range(len(pairs.images)))
        tokens = ImageTokens(model.image, plain.pixels, digests, frames, settings.cache_dtype)
        tokens.fill(settings.cache_gb)
    return Prepared(model, pairs, ids, states, tokens, negations)


@kept_memory()
@torch.no_grad()
def embed(data: Prepared, what: str) -> tuple[Float[Tensor, "t D"], Float[Tensor, "i D"], Float[Tensor, "t k d"]]:
    """Embeddings of all captions and pictures, and the captions' read-outs."""
    model = data.model.eval()
    texts, reads, images = [], [], []
    for at in track(range(0, len(data.ids), BLOCK), f"{what}: captions"):
        laid, hidden = data.texts(range(at, min(at + BLOCK, len(data.ids))))
        out = model.text(laid, hidden)
        texts.append(join(out.segments))
        reads.append(out.readouts)
    for at in track(range(0, len(data.pairs.images), BLOCK), f"{what}: pictures"):
        part = range(at, min(at + BLOCK, len(data.pairs.images)))
        if data.tokens:
            segments, _ = model.image.segments(data.tokens.read(part).to(model.bias.device))
        else:
            segments, _ = model.image(torch.cat([data.pixels(i) for i in part]).to(model.bias.device))
        images.append(over_frames(join(segments), data.frames(part)))
    return torch.cat(texts).cpu(), torch.cat(images).cpu(), torch.cat(reads).cpu()


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
        model = _trained(settings, run, resume)
        if is_main_process():
            _finish(model, settings, run)
        return model


def _with_whole_paths(settings: AlignSettings) -> AlignSettings:
    """The same, with the places of towers that lie in local folders said in full."""
    text, image = settings.text, settings.image
    if text.tower != PACKAGED:
        text = text.model_copy(update={"tower": absolute(text.tower)})
    image = image.model_copy(update={"tower": absolute(image.tower)})
    start = settings.start_from and absolute(settings.start_from)
    return settings.model_copy(update={"text": text, "image": image, "start_from": start})


def _trained(settings: AlignSettings, run: RunFolder, resume: bool) -> CAMPE:
    precision = numbers_of(settings)
    if settings.precision == "auto":
        say(choose_precision(device().type).sentence)
    train = read_pairs(settings.data, settings.train_split, max_bad=settings.max_bad)
    dev = read_pairs(settings.data, settings.dev_split, max_bad=settings.max_bad) if settings.dev_split else None
    torch.manual_seed(settings.seed)
    dtype = "fp32" if settings.tower_dtype == "auto" and settings.precision == "fp32" else settings.tower_dtype
    model = build(settings.model_copy(update={"tower_dtype": dtype})).to(device())
    if settings.loss.bias is None:
        model.bias.data.fill_(balanced_bias(settings.batch))
    towers = {"text": model.text.llm.fingerprint, "image": model.image.tower.fingerprint}
    started = start_from(model, settings.start_from) if settings.start_from else None
    run.start({"towers": towers, "captions": _fingerprint(train), "start_from": started})
    with processes().main_process_first():  # the others read what the first has cached
        data = prepare(model, train, settings, negations=bool(settings.loss.negation))
        dev_data = prepare(model, dev, settings) if dev else None
    if started is None:  # else it was fitted to what the earlier run had seen
        _fit_norm(data)

    def every_epoch(epoch: int) -> Json:
        if dev_data is None:
            return {}
        return {"dev": score(*embed(dev_data, "Dev"), dev_data.pairs, model.text.num_segments)}

    fit(
        Objective(model),
        Batches(fetch=data.batch, image_of=train.image_of, size=settings.batch, seed=settings.seed),
        TrainSettings(
            epochs=settings.epochs,
            seed=settings.seed,
            precision=precision,
            weight_decay=settings.weight_decay,
            epoch_seconds=EPOCH_SECONDS,
        ),
        run.folder,
        groups=parameter_groups(model, settings),
        every_epoch=every_epoch,
        resume=resume,
        since=run.since,
    )
    return model


def balanced_bias(batch: int) -> float:
    """Where a sigmoid loss begins balanced: b with (n - 1) sigma(b) = 1 - sigma(b), one pair against all negatives.

    SigLIP's -10 (Zhai et al. 2023, arXiv:2303.15343) is that of 22,000 negatives; at a few hundred it holds all
    cosines down until the bias has come up.
    """
    return -math.log(batch - 1)


def _fingerprint(pairs: Pairs) -> str:
    """Of captions and the names of their pictures; the pictures' bytes are in the names of the caches."""
    return digest(*pairs.captions, *(pairs.images[image].key for image in pairs.image_of))


def _finish(model: CAMPE, settings: AlignSettings, run: RunFolder) -> None:
    found: Json = {}
    if settings.test_split:
        test = read_pairs(settings.data, settings.test_split, max_bad=settings.max_bad)
        found[f"{settings.data} {settings.test_split}"] = evaluate(model, test, settings)
    head = run.head()
    results = head | {"machine": f"{head['machine']}, {numbers_of(settings)}", "retrieval": found}
    run.finish(results, lambda folder: model.save_pretrained(folder, _card(settings, results)))


def evaluate(model: CAMPE, pairs: Pairs, settings: AlignSettings) -> Json:
    """Recall and aspects of a set that the model has not seen; the frozen pass in the precision it was trained with."""
    data = prepare(model, pairs, settings)
    return score(*embed(data, pairs.name), pairs, model.text.num_segments)


def numbers_of(settings: AlignSettings) -> Precision:
    """The precision that the settings name, or the one this machine multiplies fastest."""
    return choose_precision(device().type).precision if settings.precision == "auto" else settings.precision


def _fit_norm(data: Prepared) -> None:
    """A fitted norm takes its figures from the first captions' read-outs."""
    data.model.text.fit_norm(*data.texts(range(min(FITTED_TO, len(data.ids)))))


def _card(settings: AlignSettings, results: Values) -> str:
    lines = [
        f"# {settings.name}",
        "",
        f"A CAMPE model (arXiv:2508.02762): {settings.text.tower} and {settings.image.tower}, "
        f"{settings.dim} numbers in {settings.text.prompts if settings.text.readout == 'prompts' else 1} segments.",
        f"Trained with `{results['command']}` on {results['date']} ({results['machine']}).",
        "",
    ]
    for name, found in results["retrieval"].items():
        for way in ("image_to_text", "text_to_image"):
            figures = ", ".join(f"{k} {v:.3f}" for k, v in found[way].items())
            lines.append(f"- {name}, {way.replace('_', ' ')}: {figures}")
    return "\n".join([*lines, "", 'Open it with `polyprompt.load("this folder")`.', ""])
