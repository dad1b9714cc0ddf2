"""How good a classifier is: accuracy, macro-F1, AUC, calibration error; the harmonic mean of base and novel classes."""

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.errors import DataError
from polyprompt.values import Json


def accuracy(probabilities: Float[Tensor, "n c"], labels: Int[Tensor, "n"]) -> float:
    """The share of items whose most probable class is theirs; of equally probable classes the first counts."""
    return (probabilities.argmax(dim=1) == labels).double().mean().item()


def class_accuracies(probabilities: Float[Tensor, "n c"], labels: Int[Tensor, "n"]) -> list[float | None]:
    """The accuracy on each class's own items; None for a class without any."""
    right = probabilities.argmax(dim=1) == labels
    of_class = [right[labels == label] for label in range(probabilities.shape[1])]
    return [hits.double().mean().item() if len(hits) else None for hits in of_class]


def macro_f1(probabilities: Float[Tensor, "n c"], labels: Int[Tensor, "n"]) -> float:
    """The mean over classes of 2 TP / (2 TP + FP + FN); classes without items do not count, as in Dassl's evaluator."""
    predicted = probabilities.argmax(dim=1)
    scores = []
    for label in labels.unique():
        both = ((predicted == label) & (labels == label)).sum()
        scores.append(2 * both / ((predicted == label).sum() + (labels == label).sum()))
    return torch.stack(scores).double().mean().item()


def calibration_error(probabilities: Float[Tensor, "n c"], labels: Int[Tensor, "n"], bins: int = 15) -> float:
    """Expected calibration error: |accuracy - confidence| in bins of equal width, weighted by the items in each.

    Guo et al. 2017, arXiv:1706.04599, equation 3. Confidence is the largest probability; a bin holds its upper edge.
    """
    confidence, predicted = probabilities.double().max(dim=1)
    right = (predicted == labels).double()
    inside = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64, device=right.device).index_add(0, inside, right - confidence)
    return (gaps.abs().sum() / len(labels)).item()


def class_aucs(probabilities: Float[Tensor, "n c"], labels: Int[Tensor, "n"]) -> list[float | None]:
    """The area under each class's ROC curve, one against the rest: how often its pictures get more than others do.

    Of equal probabilities each counts half. None for a class without pictures, or with all of them.
    """
    aucs: list[float | None] = []
    for label, column in enumerate(probabilities.double().T):
        inside = labels == label
        members, others = int(inside.sum()), int((~inside).sum())
        if not members or not others:
            aucs.append(None)
            continue
        _, place, count = column.unique(return_inverse=True, return_counts=True)
        ranks = (count.cumsum(0) - (count - 1) / 2)[place]  # equal ones share the mean of their ranks
        aucs.append(((ranks[inside].sum() - members * (members + 1) / 2) / (members * others)).item())
    return aucs


def auc(probabilities: Float[Tensor, "n c"], labels: Int[Tensor, "n"]) -> float | None:
    """The mean of `class_aucs`; None where no class has one."""
    known = [one for one in class_aucs(probabilities, labels) if one is not None]
    return sum(known) / len(known) if known else None


def harmonic_mean(base: float, novel: float) -> float:
    """2 / (1 / base + 1 / novel); 0 where one of them is."""
    return 2 * base * novel / (base + novel) if base and novel else 0.0


def scores(probabilities: Float[Tensor, "n c"], labels: Int[Tensor, "n"], class_names: Sequence[str]) -> Json:
    """All of these, as they stand in results.json; shares from 0 to 1.

    Raises:
        DataError: nothing to score, or probabilities that are not numbers.
    """
    if not len(labels):
        raise DataError("there are no pictures to score; the test set is empty")
    if not probabilities.isfinite().all():
        broken = int((~probabilities.isfinite().all(dim=1)).sum())
        raise DataError(
            f"the probabilities of {broken} of {len(labels)} pictures are not numbers; train at a lower rate"
        )
    names = distinct_names(class_names)
    return {
        "accuracy": accuracy(probabilities, labels),
        "macro_f1": macro_f1(probabilities, labels),
        "auc": auc(probabilities, labels),
        "calibration_error": calibration_error(probabilities, labels),
        "pictures": len(labels),
        "classes": len(class_names),
        "class_accuracy": dict(zip(names, class_accuracies(probabilities, labels), strict=True)),
        "confused": confused(probabilities, labels, names),
    }


def distinct_names(class_names: Sequence[str]) -> list[str]:
    """Names of which no two are alike: the second of two classes called "missile" is "missile (2)"."""
    seen = Counter[str]()
    distinct = []
    for name in class_names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct


def confused(
    probabilities: Float[Tensor, "n c"], labels: Int[Tensor, "n"], class_names: Sequence[str], most: int = 200
) -> dict[str, dict[str, int]]:
    """How often items of a class were taken for which other one: the `most` frequent pairs, the first ones first."""
    taken_for: list[int] = probabilities.argmax(dim=1).tolist()
    pairs: Counter[tuple[int, int]] = Counter(zip(labels.tolist(), taken_for, strict=True))
    most_confused: dict[str, dict[str, int]] = {}
    for (label, taken), count in pairs.most_common():
        if label != taken and sum(map(len, most_confused.values())) < most:
            most_confused.setdefault(class_names[label], {})[class_names[taken]] = count
    return most_confused
