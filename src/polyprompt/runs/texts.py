"""Texts with what the frozen blocks make of them: from the cache, or computed anew for each batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.campe.cache import TextStates
from polyprompt.campe.model import CAMPE
from polyprompt.campe.text import join
from polyprompt.nn.precision import Precision, choose_precision
from polyprompt.nn.tree import Sequences, sequences
from polyprompt.progress import say, track
from polyprompt.runs.processes import device
from polyprompt.runs.settings import AlignSettings
from polyprompt.types import Hidden

BLOCK = 128
"""Texts or pictures scored together."""

FITTED_TO = 512
"""Texts whose readouts a fitted norm is fitted to."""


@dataclass(frozen=True)
class Texts:
    """Captions or sentences, laid out for a model's text side."""

    model: CAMPE
    ids: list[list[int]]
    states: TextStates | None
    negations: bool

    def read(self, items: Sequence[int]) -> tuple[Sequences, Hidden | None]:
        """Some of them laid out, and their cached states if there are any."""
        if self.states:
            return self.states.read(items)
        tree = self.model.text.tree if self.negations else self.model.text.tree.positive()
        return sequences([self.ids[i] for i in items], tree), None

    def fit_norm(self) -> None:
        """A fitted norm takes its figures from the first texts' readouts."""
        self.model.text.fit_norm(*self.read(range(min(FITTED_TO, len(self.ids)))))

    @torch.no_grad()
    def embed(self, what: str) -> tuple[Float[Tensor, "t D"], Float[Tensor, "t k d"]]:
        """Unit vectors of all, and the readouts they are made of; `what` names them in the progress bar."""
        model = self.model.eval()
        vectors, reads = [], []
        for at in track(range(0, len(self.ids), BLOCK), what):
            out = model.text(*self.read(range(at, min(at + BLOCK, len(self.ids)))))
            vectors.append(join(out.segments))
            reads.append(out.readouts)
        return torch.cat(vectors).cpu(), torch.cat(reads).cpu()


def prepare_texts(
    model: CAMPE, texts: Sequence[str], name: str, settings: AlignSettings, *, negations: bool = False
) -> Texts:
    """Fills the cache of `texts`, which messages call `name`; `negations`: whether the negated prompts are wanted too.

    Raises:
        CacheError: over the cap, or no room. DataError: a text is empty.
    """
    ids, cut = model.text.llm.tokens(texts, settings.text.max_tokens)
    if cut:
        say(f"{name}: {cut} of {len(ids)} texts were cut to {settings.text.max_tokens} tokens.")
    states = None
    if settings.text.lora and model.text.split == 0:
        say(f"{name}: all blocks have updates beside them, so no states are kept and each step runs all blocks.")
    elif settings.cache and model.text.cacheable:
        tree = model.text.tree if negations else model.text.tree.positive()
        bf16 = numbers_of(settings) == "bf16"
        states = TextStates(model.text.llm, model.text.split, ids, tree, settings.cache_dtype, bf16)
        states.fill(settings.cache_gb)
    return Texts(model, ids, states, negations)


def numbers_of(settings: AlignSettings) -> Precision:
    """The precision that the settings name, or the one this machine multiplies fastest."""
    return choose_precision(device().type).precision if settings.precision == "auto" else settings.precision
