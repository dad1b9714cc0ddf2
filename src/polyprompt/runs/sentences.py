"""Pairs of sentences with people's scores: a text side trained on them, and scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.campe.model import CAMPE
from polyprompt.campe.objective import Likeness, ScoredBatch
from polyprompt.data.items import Scored
from polyprompt.evaluate.sentences import check_scipy, spearman
from polyprompt.nn.memory import kept_memory
from polyprompt.nn.tree import without_words
from polyprompt.runs.settings import AlignSettings
from polyprompt.runs.texts import Texts, prepare_texts
from polyprompt.runs.work import Work
from polyprompt.train.batches import Batches
from polyprompt.values import Json


@dataclass(frozen=True)
class PreparedPairs:
    """Pairs, each sentence of them once among `texts`."""

    texts: Texts
    first: Sequence[int]
    second: Sequence[int]
    scores: tuple[float, ...]
    dropped_words: float = 0.0

    def batch(self, pairs: Sequence[int]) -> ScoredBatch:
        """Some pairs: all first sentences, then all second ones."""
        laid, hidden = self.texts.read([*(self.first[i] for i in pairs), *(self.second[i] for i in pairs)])
        laid = without_words(laid, self.dropped_words) if self.dropped_words else laid
        return ScoredBatch(laid, hidden, torch.tensor([self.scores[i] for i in pairs]))

    def embed(self, what: str) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D"]]:
        """Unit rows of the first and of the second sentences."""
        vectors, _ = self.texts.embed(f"{what}: sentences")
        return vectors[list(self.first)], vectors[list(self.second)]


def prepare(model: CAMPE, data: Scored, settings: AlignSettings) -> PreparedPairs:
    """Fills the cache of the sentences.

    Raises:
        CacheError: over the cap, or no room. ConfigError: scipy, which scores need, is not installed.
    """
    check_scipy()
    number: dict[str, int] = {}
    for sentence in (*data.first, *data.second):
        number.setdefault(sentence, len(number))
    texts = prepare_texts(model, list(number), data.name, settings)
    first, second = ([number[sentence] for sentence in side] for side in (data.first, data.second))
    return PreparedPairs(texts, first, second, data.scores)


def work(model: CAMPE, train: Scored, settings: AlignSettings, score_dev: Callable[[], Json] | None) -> Work:
    """Training on pairs; the image side stays as it is."""
    data = replace(prepare(model, train, settings), dropped_words=settings.dropped_words)
    batches = Batches(fetch=data.batch, image_of=range(len(train.scores)), size=settings.batch, seed=settings.seed)
    return Work(Likeness(model.text, settings.loss.diversity), data.texts, batches, score_dev)


@kept_memory()
def score(data: PreparedPairs, what: str) -> Json:
    """Spearman's correlation of cosines with people's scores, over all pairs at once.

    Raises:
        DataError: nothing to rank.
    """
    return {"spearman": spearman(*data.embed(what), data.scores), "pairs": len(data.scores)}
