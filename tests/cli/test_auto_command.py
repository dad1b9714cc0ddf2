"""adapt --method auto and --budget on the command line: the table is printed, the chosen one marked."""

import json

import numpy as np
import pytest
from PIL import Image


def squares(folder):
    draw = np.random.default_rng(0)
    for name, colour in {"red": (220, 30, 30), "green": (30, 200, 40)}.items():
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.clip(np.array(colour) + draw.integers(-60, 60, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.slow
def test_the_table_is_printed_and_kept(polyprompt, clip, tmp_path):
    plain = ["adapt", squares(tmp_path / "squares"), "--encoder", clip, "--shots", 4, "--set", "precision=fp32"]
    quick = ["--epochs", 1, "--set", "batch=4", "--rate", 0.01, "--budget", "1m"]
    code, out, err = polyprompt(*plain, *quick, "--method", "auto", "--out", tmp_path / "run")
    assert code == 0, err
    table = json.loads((tmp_path / "run" / "results.json").read_text())["auto"]
    lines = [line for line in out.splitlines() if line[2:].split() and line[2:].split()[0] in str(table)]
    marked = [line.split()[1] for line in lines if line.startswith("* ")]
    assert marked == [table["chosen"]]
    assert sum("accuracy" in line or "not tried" in line for line in lines) >= 6
    code, out, err = polyprompt("predict", tmp_path / "run", tmp_path / "squares" / "red", "--encoder", clip)
    assert code == 0, err
    assert len(out.splitlines()) == 6


def test_settings_that_auto_has_not(polyprompt, clip, tmp_path):
    plain = ["adapt", squares(tmp_path / "squares"), "--encoder", clip, "--method", "auto", "--out", tmp_path / "run"]
    for options, message in (
        (["--set", "method.depth=3"], "method auto has no setting 'depth'"),
        (["--budget", "soon"], "--budget: budget is 'soon'; it should be a time, as in 90s, 5m or 1h"),
    ):
        code, _, err = polyprompt(*plain, *options)
        assert (code, message in err) == (2, True), err
