"""The pages on speed and on reliability say what the result files hold."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MACHINE = {"processor": "Abacus", "cores": 2, "threads": 1, "load": 0.5}
HEAD = {"command": "python benchmarks/toy.py", "date": "2026-01-02T03:04:05+00:00", "machine": MACHINE}
TIME = {"seconds": {"ours": [1.0, 9.0, 2.0], "theirs": [24680.0, 4.0, 8.0]}, "ratios": [4.0, 4.5, 4.0], "ratio": 4.0}


@pytest.fixture
def speed(import_from):
    import_from(str(BENCHMARKS))
    import page

    yield page
    for name in ("page", "measure", "goals"):
        sys.modules.pop(name)


def write(folder, name, **result):
    result = {**HEAD, "versions": {"torch": "1.2.3"}, "claim": "twice as fast", **result}
    (folder / f"{name}.json").write_text(json.dumps(result))
    return result


def test_medians_counts_and_bytes_are_readable(speed, tmp_path):
    write(tmp_path, "many", found=[{"classes": 2000, "time": TIME}, {"classes": 10, "peak_bytes": 3 << 29}])
    write(tmp_path, "one", share=0.12345, time=TIME)
    _, many, one = speed.page(tmp_path).split("\n## ")[1:]
    assert "Goal: twice as fast." in many
    assert "| classes | seconds, ours | seconds, theirs | ratio | peak |" in many
    assert "| 2,000 | 2 | 8 | 4 |  |" in many
    assert "| 10 |  |  |  | 1.50 GiB |" in many
    assert "| share | 0.123 |" in one
    assert "`python benchmarks/toy.py`, 2026-01-02; Abacus, 2 cores" in one


def test_the_plot_shows_both_sides_where_both_ran(speed, tmp_path):
    rows = [{"classes": 10, "time": TIME}, {"classes": 50, "time": TIME}]
    alone = {"classes": 1000, "time": {"seconds": {"ours": [3.0]}}}
    curve = write(tmp_path, "adapt-maple", found=[*rows, alone])
    speed.plot(curve, tmp_path / "plot.svg")
    first = (tmp_path / "plot.svg").read_bytes()
    speed.plot(curve, tmp_path / "plot.svg")
    assert first.startswith(b"<?xml")
    assert (tmp_path / "plot.svg").read_bytes() == first
    assert "](speed-classes.svg)" in speed.page(tmp_path)


def test_what_was_tried_to_break_it_has_a_page_of_its_own(speed, tmp_path):
    rows = [{"kind": "model", "flips": 12345, "caught": 12345}, {"kind": "a cell", "flips": 3, "missed": 0}]
    write(tmp_path, "reliability-flips", found=rows, notes=["Ended after an hour.", "Nothing else ran."])
    write(tmp_path, "contrast", share=0.5)
    (flips,) = speed.reliability_page(tmp_path).split("\n## ")[1:]
    assert flips.startswith("flips\n")
    assert "| kind | flips | caught | missed |" in flips
    assert "| model | 12,345 | 12,345 |  |" in flips
    assert "\nEnded after an hour.\n\nNothing else ran.\n" in flips
    assert "`python benchmarks/toy.py`, 2026-01-02" in flips
    assert speed.page(tmp_path).split("\n## ")[2].startswith("contrast\n")


def test_every_result_kept_here_can_be_shown(speed):
    kept = sorted(path.stem for path in speed.RESULTS.glob("*.json"))
    pages = (speed.page(speed.RESULTS), speed.reliability_page(speed.RESULTS))
    assert kept
    apart = [[name for name in kept if name.startswith(speed.PREFIX) == broken] for broken in (False, True)]
    for page, names in zip(pages, apart, strict=True):
        shown = [line[3:] for line in page.splitlines() if line.startswith("## ")]
        summary = ["All claims"] if page is pages[0] else []
        assert shown == summary + [name.removeprefix(speed.PREFIX) for name in names]


def test_a_goal_is_reached_or_missed_row_by_row(speed, tmp_path):
    rows = [
        {"precision": "fp32", "limit_by_image_tower": 3.5, "time": TIME | {"ratio": 3.0}},
        {"precision": "bf16", "time": TIME | {"ratio": 2.99}},
    ]
    write(tmp_path, "align-last-block", found=rows)
    write(tmp_path, "align-start", found={"import": 0.2, "help": 0.51})
    write(tmp_path, "grid-deciding", found=[{"seconds": [5.0, 0.25, 1.0]}])
    write(tmp_path, "other", found={"help": 1.0})
    table = speed.page(tmp_path).split("\n## ")[1].splitlines()[4:]
    assert table == [
        "| [the last block for readout rows](#align-last-block), fp32 | 3 times | >= 3 times | 3.5 times | yes |",
        "| [the last block for readout rows](#align-last-block), bf16 | 2.99 times | >= 3 times |  | **missed** |",
        "| [import polyprompt](#align-start) | 0.2 s | <= 0.2 s |  | yes |",
        "| [polyprompt --help](#align-start) | 0.51 s | <= 0.5 s |  | **missed** |",
        "| [what is left of 10,000 cells](#grid-deciding) | 1 s | <= 1 s |  | yes |",
        "| [other](#other) | see there |  |  |  |",
    ]


def test_goals_are_those_that_the_results_state(speed):
    """Each bound stands among the numbers of its claim; each goal finds its figure."""
    other = {0.2: ("1/5",), 0.1: ("1/10", "10 %"), 0.05: ("50 ms",)}
    claims = (BENCHMARKS / "adapt.py").read_text(encoding="utf-8")
    for goal in speed.GOALS:
        kept = speed.RESULTS / f"{goal.result}.json"
        if not kept.exists():
            assert f'"{goal.result.removeprefix("adapt-")}": ' in claims, f"{goal}: nothing measures it"
            continue
        result = json.loads(kept.read_text())
        bound = goal.least if goal.most is None else goal.most
        words = result["claim"].replace(",", " ").replace(";", " ").split()
        assert f"{bound:g}" in words or any(one in result["claim"] for one in other.get(bound, ())), goal
        assert list(goal.figures(result)), goal
