"""The README's commands and its Python are run as they stand, in order, on toy towers and coloured squares."""

import csv
import json
import logging
import re
import shlex
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import onnxruntime
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from toy_decoders import tokenizer, toy_decoder
from typer.testing import CliRunner

import polyprompt as pp
from polyprompt.adapt.engine import build
from polyprompt.cli.app import app
from polyprompt.disk import packaged
from polyprompt.disk.files import read_json
from polyprompt.media.pictures import open_picture
from polyprompt.methods import maple
from polyprompt.methods.originals import export_original
from polyprompt.skins import sklearn
from polyprompt.towers import timm as timm_towers

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHOWN = (  # a part of what each block prints
    "('cat', 'dog') torch.Size([2, 2])",
    "torch.Size([1, 6, 5, 5]) torch.Size([2, 384]) torch.Size([2, 384])",
    "(2, 2)",
)
COLOURS = {"cat": (220, 120, 40), "dog": (90, 60, 30), "hamster": (240, 220, 180), "parrot": (30, 200, 40)}


# What the README takes as given


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The working folder, with the README's pictures and files; the names of big weights stand for toy towers in it."""
    place = tmp_path_factory.mktemp("readme")
    few_epochs = {"few-shot": replace(maple.PUBLISHED["few-shot"], epochs=2)}  # 50 are published
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("POLYPROMPT_CACHE", str(place / "cache"))
        patch.setattr(maple, "PUBLISHED", maple.PUBLISHED | few_epochs)
        patch.setattr(packaged, "smollm2", lambda: place / "smollm2")
        patch.setattr(packaged, "efficientnet_lite0", lambda: place / "cnn.safetensors")
        patch.setattr(
            timm_towers, "timm_name", lambda name: "test_efficientnet" if name == timm_towers.PACKAGED else name
        )
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # torch.export cannot read its checks
        patch.setattr(logging.getLogger("torch.__trace"), "level", logging.ERROR)  # it floods pytest's log
        towers()
        pictures()
        shutil.copytree(ROOT / "recipes", "recipes")
        clip = pp.load_encoder("ViT-B-16/openai")
        export_original(build(maple.Config(), clip, ["tench", "goldfish"]), "output/imagenet/seed1", epoch=50)
        yield
    sklearn.opened.cache_clear()


def towers():
    """An LLM of 30 blocks, a CNN, and a CLIP deep enough for MaPLe, in a file of the name that the README gives."""
    toy_decoder("llama", blocks=30).save_pretrained("smollm2")
    tokenizer().save_pretrained("smollm2")
    torch.manual_seed(0)
    save_file(timm.create_model("test_efficientnet").state_dict(), "cnn.safetensors")
    vision = {"layers": 2, "width": 64, "head_width": 64, "patch_size": 8, "image_size": 16}
    text = {"layers": 9, "width": 64, "heads": 1}
    Path("ViT-B-16").mkdir()
    torch.save(open_clip.CLIP(32, vision, text, quick_gelu=True).state_dict(), "ViT-B-16/openai")


def pictures():
    """Noisy squares, a colour for each animal: with captions, in class folders, with a split file, and loose ones."""
    draw = np.random.default_rng(0)
    names = list(COLOURS)

    def square(name, path):
        pixels = np.clip(np.array(COLOURS[name]) + draw.integers(-40, 40, (32, 32, 3)), 0, 255)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)

    for name, path in (("cat", "cat.png"), ("dog", "dog.png"), ("cat", "holiday-photos/1.png")):
        square(name, path)
    for name in names[:2]:
        for i in range(17):  # one is left of 16 shots
            square(name, f"pets/{name}/{i}.png")

    captions = [("file", "caption", "split")]
    for i, split in enumerate(["train", "train", "dev", "test"] * 4):
        name = names[i // 4]
        square(name, f"photos/{i}.png")
        captions.append((f"{i}.png", f"a {name}", split))
    with open("photos/captions.csv", "w", newline="") as file:
        csv.writer(file).writerows(captions)

    splits = defaultdict(list)
    for split in ("train", "val", "test"):
        for label, name in enumerate(names):
            square(name, f"images/{name}_{split}.png")
            splits[split].append((f"{name}_{split}.png", label, name))
    Path("split_zhou_OxfordPets.json").write_text(json.dumps(splits))


# The commands


@pytest.fixture(scope="module")
def said(place):
    """What the commands printed, by their names; all of them are run, in order, and none fails."""
    said = defaultdict(list)
    for line in COMMANDS:
        program, *words = shlex.split(line)
        assert program == "polyprompt"
        end = CliRunner().invoke(app, words, catch_exceptions=False)
        assert end.exit_code == 0, f"{line}\n{end.output}"
        said[words[0]].append(end.stdout)
    return said


def test_align_evaluate_and_what_shows_its_runs(said):
    config, results = (read_json(Path("runs/photos") / name) for name in ("config.json", "results.json"))
    assert (config["data"], config["text"]["prompts"], config["epochs"]) == ("photos", 6, 20)
    assert results["retrieval"]["photos test"]["images"] == 4
    assert said["evaluate"][0] in said["align"][0]  # the same set, scored again
    config = read_json(Path("runs/baseline/config.json"))
    assert (config["text"]["readout"], config["loss"]["negation"]) == ("last", 0)

    model, files = pp.load("runs/photos"), sorted(Path("photos").glob("*.png"))
    scores = model.similarity(["a sad cat"], files, [1.25, 1, 1, 1, 1, 0.75])[0]
    found = [line.split() for line in said["search"][1].splitlines()]
    assert [float(score) for score, _ in found] == pytest.approx(scores.topk(10).values.tolist(), abs=1e-4)
    assert {path for _, path in found} <= set(map(str, files))
    for picture in ("cats.png", "why.png"):
        assert open_picture(picture).width > 100
    page = Path("report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("photos", "baseline", "Recall"))


def test_cost(said):
    nothing, captions = (float(line.split()[1]) for line in said["cost"][0].splitlines()[1:3])
    assert (nothing, captions) == pytest.approx((144.2, 24.8), rel=0.03)  # the paper's


def test_adapt_and_predict(said):
    for run, sets in (("pets", ["test"]), ("mine", ["test"]), ("base-to-novel", ["base", "novel"])):
        results = read_json(Path("runs") / run / "results.json")
        assert list(results["classification"]) == sets
        assert pp.load(f"runs/{run}").class_names == ("cat", "dog")
    config = read_json(Path("runs/mine/config.json"))
    assert Path(config["encoder"]) == Path("runs/photos").resolve()
    assert (config["method"]["depth"], config["method"]["text_start"]) == (1, 28)

    lines = [json.loads(line) for line in said["predict"][0].splitlines()]
    assert [line["image"] for line in lines] == ["cat.png", "holiday-photos/1.png"]
    assert list(lines[0]["probabilities"].values()) == pytest.approx(pp.load("runs/pets")(["cat.png"])[0].tolist())
    assert sorted(re.findall("[a-z]{4,}", said["predict"][1])) == ["lynx", "otter", "wolf"]


def test_a_grid_and_its_report(said):
    assert said["run"][0].startswith("17 of 17 cells have results")
    assert said["run"][1].splitlines()[-1].startswith("7 cells, 7 to do")
    page = Path("grid.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("linear_probe", "clip_adapter", "Against zero-shot"))


def test_what_comes_in_and_goes_out(said):
    assert pp.load("adapters/imagenet").class_names == ("tench", "goldfish")
    classifier = pp.load("runs/pets")
    pixels = classifier.preprocess(open_picture("cat.png"))[None]
    session = onnxruntime.InferenceSession("pets.onnx", providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"pixels": pixels.numpy()})
    assert probabilities == pytest.approx(classifier(pixels).numpy(), abs=1e-4)
    state = torch.load(said["export-original"][0].strip(), weights_only=True)["state_dict"]
    assert torch.equal(state["prompt_learner.ctx"], classifier.method.learned()["text.0"])


# The Python


@pytest.mark.parametrize(
    ("code", "shown"), list(zip(PYTHON, SHOWN, strict=True)), ids=("classifier", "model", "sklearn")
)
def test_the_python_runs(code, shown, said, capsys):
    shutil.copytree("runs/photos", "runs/demo/campe-6-prompts", dirs_exist_ok=True)
    exec(compile(code, "README.md", "exec"), {})
    assert shown in capsys.readouterr().out


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
