"""The README's commands and its Python are run as they stand, in order, on toy towers and coloured squares."""

import json
import re
import shlex
import shutil
from collections import defaultdict
from pathlib import Path

import onnxruntime
import pytest
import torch
from toy_place import toy_place
from typer.testing import CliRunner

import polyprompt as pp
from polyprompt.cli.app import app
from polyprompt.disk.files import read_json
from polyprompt.media.pictures import open_picture

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHOWN = (  # a part of what each block prints
    "('cat', 'dog') torch.Size([2, 2])",
    "torch.Size([1, 6, 5, 5]) torch.Size([2, 384]) torch.Size([2, 384])",
    "(2, 2)",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The working folder, with the README's pictures and files."""
    with toy_place(tmp_path_factory.mktemp("readme")):
        yield


# The commands


@pytest.fixture(scope="module")
def outputs(place):
    """What the commands printed, by their names; all of them are run, in order, and none fails."""
    outputs = defaultdict(list)
    for line in COMMANDS:
        program, *words = shlex.split(line)
        assert program == "polyprompt"
        end = CliRunner().invoke(app, words, catch_exceptions=False)
        assert end.exit_code == 0, f"{line}\n{end.output}"
        outputs[words[0]].append(end.stdout)
    return outputs


def test_align_evaluate_and_what_shows_its_runs(outputs):
    config, results = (read_json(Path("runs/photos") / name) for name in ("config.json", "results.json"))
    assert (config["data"], config["text"]["prompts"], config["epochs"]) == ("photos", 6, 20)
    assert results["retrieval"]["photos test"]["images"] == 4
    assert outputs["evaluate"][0] in outputs["align"][0]  # the same set, scored again
    config = read_json(Path("runs/baseline/config.json"))
    assert (config["text"]["readout"], config["loss"]["negation"]) == ("last", 0)

    model, files = pp.load("runs/photos"), sorted(Path("photos").glob("*.png"))
    scores = model.similarity(["a sad cat"], files, [1.25, 1, 1, 1, 1, 0.75])[0]
    found = [line.split() for line in outputs["search"][1].splitlines()]
    assert [float(score) for score, _ in found] == pytest.approx(scores.topk(10).values.tolist(), abs=1e-4)
    assert {path for _, path in found} <= set(map(str, files))
    for picture in ("cats.png", "why.png"):
        assert open_picture(picture).width > 100
    page = Path("report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("photos", "baseline", "Recall"))


def test_cost(outputs):
    nothing, captions = (float(line.split()[1]) for line in outputs["cost"][0].splitlines()[1:3])
    assert (nothing, captions) == pytest.approx((144.2, 24.8), rel=0.03)  # the paper's


def test_adapt_and_predict(outputs):
    for run, sets in (("pets", ["test"]), ("mine", ["test"]), ("base-to-novel", ["base", "novel"])):
        results = read_json(Path("runs") / run / "results.json")
        assert list(results["classification"]) == sets
        assert pp.load(f"runs/{run}").class_names == ("cat", "dog")
    config = read_json(Path("runs/mine/config.json"))
    assert Path(config["encoder"]) == Path("runs/photos").resolve()
    assert (config["method"]["depth"], config["method"]["text_start"]) == (1, 28)

    lines = [json.loads(line) for line in outputs["predict"][0].splitlines()]
    assert [line["image"] for line in lines] == ["cat.png", "holiday-photos/1.png"]
    assert list(lines[0]["probabilities"].values()) == pytest.approx(pp.load("runs/pets")(["cat.png"])[0].tolist())
    assert sorted(re.findall("[a-z]{4,}", outputs["predict"][1])) == ["lynx", "otter", "wolf"]


def test_a_grid_and_its_report(outputs):
    assert outputs["run"][0].startswith("17 of 17 cells have results")
    assert outputs["run"][1].splitlines()[-1].startswith("7 cells, 7 to do")
    page = Path("grid.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("linear_probe", "clip_adapter", "Against zero-shot"))


def test_what_comes_in_and_goes_out(outputs):
    assert pp.load("adapters/imagenet").class_names == ("tench", "goldfish")
    classifier = pp.load("runs/pets")
    pixels = classifier.preprocess(open_picture("cat.png"))[None]
    session = onnxruntime.InferenceSession("pets.onnx", providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"pixels": pixels.numpy()})
    assert probabilities == pytest.approx(classifier(pixels).numpy(), abs=1e-4)
    state = torch.load(outputs["export-original"][0].strip(), weights_only=True)["state_dict"]
    assert torch.equal(state["prompt_learner.ctx"], classifier.method.learned()["text.0"])


# The Python


@pytest.mark.parametrize(
    ("code", "shown"), list(zip(PYTHON, SHOWN, strict=True)), ids=("classifier", "model", "sklearn")
)
def test_the_python_runs(code, shown, outputs, capsys):
    shutil.copytree("runs/photos", "runs/demo/campe-6-prompts", dirs_exist_ok=True)
    for _ in range(2):  # a reader may try a block again
        exec(compile(code, "README.md", "exec"), {})
    assert shown in capsys.readouterr().out


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
