"""Results of a grid, made up."""

from polyprompt.runs.cells import Cell, Result

SETS = ("pets", "cars", "food", "dtd")
MADE = {"machine": "a machine", "date": "2026-11-01"}


def result(method, data, seed, classification, *, protocol="few-shot", shots=4, encoder="toy", **settings):
    scores = {
        part: {
            "accuracy": accuracy, "macro_f1": accuracy, "calibration_error": 0.1, "pictures": 400, "classes": 10,
            "class_accuracy": {"cat": accuracy, "dog": 1.0}, "confused": {"cat": {"dog": 40}},
        }
        for part, accuracy in classification.items()
    }  # fmt: skip
    cell = Cell(
        protocol=protocol,
        task="classify",
        method=method,
        encoder=encoder,
        data=data,
        seed=seed,
        shots=None if method == "zeroshot" else shots,
        settings={"seed": seed, "data": data, "precision": "fp32", "method": method} | settings,
        inputs={"data": data},
    )
    return Result(cell, {"classification": scores}, 3.0, **MADE)


def few_shot():
    """Three methods: zero-shot, one that is better nearly everywhere, one that is not."""
    found = [result("zeroshot", data, None, {"test": 0.5 + 0.05 * i}) for i, data in enumerate(SETS)]
    for i, data in enumerate(SETS):
        for seed in (1, 2, 3):
            found.append(result("maple", data, seed, {"test": 0.6 + 0.05 * i + 0.01 * seed}))
            found.append(result("coop", data, seed, {"test": 0.5 + 0.05 * i + 0.02 * (seed - 2) + 0.001 * i}))
    return found
