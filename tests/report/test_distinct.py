"""What cannot be compared has names that differ."""

from dataclasses import replace

import pytest
from run_files import as_of_version
from toy_grid import result

from polyprompt.report.averages import grids
from polyprompt.report.distinct import with_distinct_names
from polyprompt.report.grid import shown
from polyprompt.report.grid_page import write_report
from polyprompt.report.significance import compared
from polyprompt.runs import cells
from polyprompt.runs.cells import write_result


def test_folders_with_one_end_and_other_pictures_are_two_sets():
    """Else the figures of one would stand in the other's place."""
    found = [result("zeroshot", data, None, {"test": share}) for data, share in (("/a/x", 0.2), ("/b/x", 0.7))]
    (grid,) = grids(with_distinct_names(found))
    assert {column.of: figure.mean for (_, column), figure in grid.figures.items()} == {
        "x (pictures 1)": 0.2,
        "x (pictures 2)": 0.7,
    }


def test_results_that_cannot_be_compared_are_no_seeds_of_one_row(tmp_path):
    """Of another figures version, other settings, other pictures."""
    (tmp_path / "cells").mkdir()

    def put(one):
        path = tmp_path / "cells" / f"{one.cell.name}.json"
        write_result(path, one)
        return path

    as_of_version(put(result("coop", "pets", 2, {"test": 0.2})), 0)
    put(result("coop", "pets", 1, {"test": 0.9}, epochs=5))
    put(result("coop", "pets", 1, {"test": 0.5}, epochs=50))
    other = result("maple", "pets", 1, {"test": 0.7})
    put(replace(other, cell=replace(other.cell, inputs={"data": "others"})))
    found = with_distinct_names(cells.results_in(tmp_path))
    assert {one.cell.method for one in found} == {"coop (epochs=5)", "coop (epochs=50)", "maple"}
    assert len({one.cell.data for one in found}) == 2
    text = write_report(tmp_path, tmp_path / "out.md")
    assert all(shown in text for shown in ("90.00", "50.00", "70.00"))
    assert "20.00" not in text


def test_a_method_that_is_set_otherwise_on_another_encoder_is_said():
    found = [result("coop", "pets", 1, {"test": 0.5}, encoder=encoder, epochs=5) for encoder in "ab"]
    found += [
        result("maple", "pets", 1, {"test": 0.5}, encoder=encoder, epochs=number)
        for number, encoder in [(5, "a"), (50, "b")]
    ]
    (grid,) = grids(with_distinct_names(found))
    assert "With other settings on one encoder than on another: maple." in shown(grid).notes


def test_how_many_pictures_might_be_left_out_is_no_other_setting():
    found = [result("coop", "pets", seed, {"test": 0.2}, max_bad=seed) for seed in (1, 2)]
    assert {one.cell.method for one in with_distinct_names(found)} == {"coop"}


def test_other_words_are_other_settings_and_no_other_pictures():
    """Wherever they lie: descriptions in a file count by its hash."""
    plain = result("zeroshot", "pets", None, {"test": 0.2})
    inputs = plain.cell.inputs
    described = [
        replace(
            plain,
            cell=replace(
                plain.cell,
                settings={**plain.cell.settings, "descriptions": place},
                inputs=inputs | {"descriptions": words},
            ),
        )
        for place, words in (("a.json", "1"), ("moved/a.json", "1"), ("b.json", "2"), ("a.json", "3"))
    ]
    found = [one.cell for one in with_distinct_names([plain, *described[:3]])]
    assert [one.method for one in found] == [
        f"zeroshot (descriptions={words})" for words in ("none", "a.json", "a.json", "b.json")
    ]
    assert {one.data for one in found} == {"pets"}
    found = with_distinct_names([plain, *described])  # another file has come into the place of one
    assert [one.cell.method for one in found][1::3] == [f"zeroshot (descriptions=a.json {n})" for n in (2, 4)]


def test_rows_say_in_which_settings_they_differ():
    """As they would be given, so that the row of a table can be made again."""

    def row(shots, seed, **settings):
        method = {"name": "coop", "context": settings.pop("context", 4), "words": "a photo of a"}
        one = result("coop", "pets", seed, {"test": 0.5}, shots=shots, epochs=5, max_bad=seed, cache_gb=seed)
        return replace(one, cell=replace(one.cell, settings={**one.cell.settings, "method": method, **settings}))

    found = [row(1, 1, rate=0.1), row(1, 2, context=16), row(1, 3), row(4, 1), row(4, 2, rate=0.1)]
    assert [one.cell.method for one in with_distinct_names(found)] == [
        "coop (method.context=4, rate=0.1)",
        "coop (method.context=16, rate=none)",
        "coop (method.context=4, rate=none)",
        "coop (rate=none)",
        "coop (rate=0.1)",
    ]
    assert {one.cell.method for one in with_distinct_names([row(1, 1), row(1, 2)])} == {"coop"}
    long = [row(1, 1, train_split=f"{'a' * 60}{end}") for end in "xy"]
    assert [one.cell.method for one in with_distinct_names(long)] == [
        f"coop (train_split={'a' * 39}… {number})" for number in (1, 2)
    ]


def test_settings_of_training_make_no_other_zero_shot():
    """A grid that runs with other ones scores zero-shot and the probes again: the same rows, and compared with."""
    found = []
    for epochs in (1, 2):
        found += [result("zeroshot", "pets", None, {"test": 0.5}, epochs=epochs, rate=0.1 * epochs)]
        for seed in (1, 2, 3, 4, 5, 6):
            found += [result("nearest_mean", "pets", seed, {"test": 0.5 + 0.01 * seed}, epochs=epochs)]
            found += [result("coop", "pets", seed, {"test": 0.6 + 0.01 * seed * epochs}, epochs=epochs)]
    (grid,) = grids(with_distinct_names(found))
    rows = {one.row.method: (one.better, one.pairs) for one in compared(grid)}
    assert rows == {
        "zeroshot": (0, 0), "nearest_mean": (6, 6), "coop (epochs=1)": (6, 6), "coop (epochs=2)": (6, 6),
    }  # fmt: skip
    found.append(result("zeroshot", "pets", None, {"test": 0.4}, test_split="other"))
    assert {one.cell.method for one in with_distinct_names(found)} > {"zeroshot (test_split=other)"}


def weighing(one, encoder, weights):
    return replace(one, cell=replace(one.cell, encoder=encoder, inputs=one.cell.inputs | {"encoder": weights}))


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("/a/k6/seed1", "/a/k1/seed1"), ["…/k6/seed1", "…/k1/seed1"]),
        (("toy", "toy"), ["toy (weights 1)", "toy (weights 2)"]),  # another file since
        (("toy", "./toy"), ["toy (weights 1)", "toy (weights 2)"]),
        (("a/toy", "b/toy"), ["a/toy", "b/toy"]),
    ],
)
def test_other_weights_are_another_encoder(places, names):
    plain = result("zeroshot", "pets", None, {"test": 0.2}), result("zeroshot", "pets", None, {"test": 0.7})
    found = [weighing(one, *each) for one, each in zip(plain, zip(places, "AB", strict=True), strict=True)]
    (grid,) = grids(with_distinct_names([*found, found[0]]))
    assert {row.encoder: figure.mean for (row, _), figure in grid.figures.items()} == dict(
        zip(names, (0.2, 0.7), strict=True)
    )


@pytest.mark.parametrize("protocol", ["few-shot", "zero-shot", "cross-dataset"])
@pytest.mark.parametrize("source", ["/a/x", "x@/a"])
def test_other_pictures_are_another_set_wherever_they_are_told(protocol, source):
    """Also of another encoder, of sets that are only scored, and of the catalogue's."""
    found = []
    for number, share in enumerate((0.2, 0.7)):
        one = result("zeroshot", source, None, {"test": share, "y": share}, protocol=protocol, test=source)
        inputs = {"data": str(number), "encoder": f"weights {number}"}
        found.append(replace(one, cell=replace(one.cell, encoder=f"e{number}", inputs=inputs)))
    columns = [
        {column.of for (row, column) in grid.figures if row.encoder == f"e{number}"}
        for grid in grids(with_distinct_names(found))
        for number in (0, 1)
    ]
    assert [one for one in columns if one] == [{f"{name} (pictures {n})" for name in "xy"} for n in (1, 2)]


def test_zero_shot_with_the_prompt_of_each_set_is_one_row():
    """One with another prompt is another row."""

    def row(data, prompt):
        one = result("zeroshot", data, None, {"test": 0.5})
        return replace(one, cell=replace(one.cell, settings={"method": {"name": "zeroshot", "templates": [prompt]}}))

    published = [row("eurosat@there", "a centered satellite photo of {}."), row("mine", "a photo of a {}.")]
    found = with_distinct_names([*published, row("pacs:photo", "a photo of a {}.")])
    assert {one.cell.method for one in found} == {"zeroshot"}
    found = with_distinct_names([*published, row("eurosat@there", "a photo of {}.")])
    assert [one.cell.method for one in found] == [
        f'zeroshot (method.templates=["a photo of {a}{{}}."])' for a in ("a ", "a ", "")
    ]
