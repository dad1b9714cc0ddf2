"""docs/medical.md does what it says: its commands and its code run in turn, on toy pictures and a toy CLIP."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_files import log_of

PAGE = (Path(__file__).parents[2] / "docs" / "medical.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", PAGE, re.DOTALL)
NAMES = re.search(r"\n\n    (normal .*?)\n    (pneumonia .*?)\n\n", PAGE).groups()
SHADES = {"normal": 90, "pneumonia": 170}


@pytest.fixture
def folders(tmp_path):
    """Scans of both kinds, one of them rare, and a few from elsewhere."""
    draw = np.random.default_rng(0)
    for folder, counts in (
        ("scans", {"normal": 20, "pneumonia": 5}),
        ("other-hospital", {"normal": 3, "pneumonia": 2}),
    ):
        for name, count in counts.items():
            (tmp_path / folder / name).mkdir(parents=True)
            for number in range(count):
                pixels = (SHADES[name] + draw.integers(-40, 40, (32, 32))).astype(np.uint8)
                Image.fromarray(pixels).convert("RGB").save(tmp_path / folder / name / f"{number}.png")
        (tmp_path / folder / "classnames.txt").write_text("\n".join(NAMES) + "\n")
    return tmp_path


def test_the_page_runs_in_turn(folders, clip, polyprompt, cd, capsys):
    cd(folders)
    printed = []
    for kind, code in BLOCKS:
        if kind == "python":
            exec(compile(code, "docs/medical.md", "exec"), {"runs": folders / "runs"})
            printed.append(capsys.readouterr().out)
            continue
        words = [word.replace("ViT-B-16/openai", str(clip)) for word in shlex.split(code)]
        if words[1] == "adapt":  # as deep as the toy, and quick
            words += ["--set", "method.depth=1", "--epochs", "2", "--set", "precision=fp32"]
        exit_code, out, err = polyprompt(*words[1:])
        assert exit_code == 0, err
        printed.append(out)
    trained, weighted, figures, elsewhere, single = printed
    for word in ("accuracy", "macro f1", "auc", "calibration error", "zero-shot accuracy"):
        assert word in trained
        assert word in weighted
    assert re.fullmatch(r"sensitivity [01]\.\d\d, specificity [01]\.\d\d, AUC [01]\.\d\d\n", figures)
    assert "auc" in elsewhere
    assert {json.loads(line)["class"] for line in single.splitlines()} <= {"healthy lungs", "lungs with pneumonia"}
    results = json.loads((folders / "runs" / "scans" / "results.json").read_text())
    assert results["config"]["terms"]["focal"]["weights"] == "balanced"
    for run, loss in (("scans", "focal"), ("weighted", "class_weighted")):
        log = log_of(folders / "runs" / run)
        assert loss in log[0]
        assert "cross_entropy" not in log[0]
