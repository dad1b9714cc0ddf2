"""Semantic similarity of sentences: do cosines rank pairs as people do?"""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from jaxtyping import Float
from torch import Tensor

from polyprompt.errors import ConfigError, DataError, install


def spearman(first: Float[Tensor, "n D"], second: Float[Tensor, "n D"], scores: Sequence[float]) -> float:
    """Spearman's rank correlation of row-wise dot products with people's scores, over all pairs at once; ties average.

    SimCSE's and mteb's figure (Gao et al. 2021, arXiv:2104.08821, appendix B). Hand in unit rows for cosines.

    Raises:
        DataError: fewer than two pairs, or one side that never changes, so that there is nothing to rank.
        ConfigError: scipy is not installed.
    """
    check_scipy()
    from scipy.stats import spearmanr

    cosines = (first.double() * second.double()).sum(dim=1).cpu().numpy()
    if len(scores) < 2 or len(set(scores)) < 2 or len(set(cosines.tolist())) < 2:
        raise DataError(f"sentences: {len(scores)} pairs of which one side never changes; there is nothing to rank")
    return float(np.asarray(spearmanr(cosines, scores))[0])


def check_scipy() -> None:
    """Says before any work that scores cannot be had.

    Raises:
        ConfigError: scipy is not installed.
    """
    if find_spec("scipy") is None:
        raise ConfigError(f"sentences: their correlation needs the package scipy; {install('bench')}")
