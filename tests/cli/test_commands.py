"""The commands from end to end on toy towers kept as folders, and bad input."""

import csv
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf
from toy_decoders import toy_decoder

import polyprompt as pp
from polyprompt.cli.main import main

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (250, 250, 250)}


@pytest.fixture(scope="module")
def place(tmp_path_factory, toy_tokenizer):
    """Toy towers, and a folder of coloured pictures with captions and splits."""
    place = tmp_path_factory.mktemp("place")
    toy_decoder("llama").save_pretrained(place / "llm")
    toy_tokenizer.save_pretrained(place / "llm")
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_efficientnet", pretrained=False), place / "cnn", safe_serialization=True)
    (place / "photos").mkdir()
    draw = np.random.default_rng(0)
    with open(place / "photos" / "captions.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "caption", "split"])
        for i in range(24):
            name = list(COLOURS)[i % 4]
            noise = draw.integers(-20, 20, (32, 32, 3))
            pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / "photos" / f"{i}.png")
            table.writerow([f"{i}.png", f"a {name} square", ["train", "train", "dev", "test"][i // 4 % 4]])
    return place


@pytest.fixture
def polyprompt(monkeypatch, capsys, tmp_path):
    """Runs a command as the shell would: its exit code, and what it printed on both streams."""
    monkeypatch.setenv("POLYPROMPT_CACHE", str(tmp_path / "cache"))

    def run(*words):
        monkeypatch.setattr("sys.argv", ["polyprompt", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return run


def width_of(path):
    with Image.open(path) as picture:
        return picture.width


def toy(place):
    return [
        place / "photos", "--text-tower", place / "llm", "--image-tower", place / "cnn", "--prompts", 3, "--dim", 24,
        "--epochs", 2, "--batch", 4, "--precision", "fp32", "--set", "image.width=32",
    ]  # fmt: skip


def test_from_pictures_to_a_page(place, tmp_path, polyprompt):
    run = tmp_path / "run"
    code, _, err = polyprompt("align", *toy(place), "--out", run)
    assert code == 0, err
    results = json.loads((run / "results.json").read_text())
    (found,) = results["retrieval"].values()
    assert found["images"] == found["captions"] == 4
    assert 0 <= found["image_to_text"]["recall@1"] <= 1
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {"loss", "contrast", "diversity", "negation", "scale"} <= set(lines[0])
    assert "dev" in lines[-1]

    code, out, err = polyprompt("evaluate", run, "--data", place / "photos", "--split", "test")
    assert code == 0, err
    assert "text to image" in out
    again = json.loads((run / "results.json").read_text())["retrieval"]
    assert len(again) == 1  # the same set, scored again
    for scores in again.values():
        assert scores["image_to_text"] == found["image_to_text"]

    grid = tmp_path / "grid.png"
    code, out, err = polyprompt(
        "search", run, "a red square", "--images", place / "photos", "--top", 3, "--grid", grid,
        "--aspect-weights", "1.25,1,0.75",
    )  # fmt: skip
    assert code == 0, err
    model = pp.load(run)
    files = sorted((place / "photos").glob("*.png"))
    scores = model.similarity(["a red square"], files, [1.25, 1.0, 0.75])[0]
    assert [line.split()[1] for line in out.splitlines()] == [str(files[i]) for i in scores.topk(3).indices]
    assert width_of(grid) > 100

    assert polyprompt("explain", run, files[0], "a red square", "--out", tmp_path / "why.png")[0] == 0
    assert width_of(tmp_path / "why.png") > 100
    assert polyprompt("report", run, "--out", tmp_path / "page.html")[0] == 0
    assert "recall" in (tmp_path / "page.html").read_text().lower()

    code, _, err = polyprompt("align", *toy(place), "--out", run)
    assert (code, err.count("\n")) == (2, 1)
    assert "--resume" in err


def test_bad_input_is_one_line_and_exit_code_2(place, tmp_path, polyprompt):
    cases = [
        (["--set", "text.promts=3"], "Did you mean text.prompts"),
        (["--set", "epochs"], "write key=value"),
        (["--dim", 25], "dim is 25, which 3 prompts do not divide"),
        (["--text-depth", 9], "has 3 blocks"),
        (["--set", "text.template=the image means:"], "0 adaptive slots"),
        (["--text-tower", tmp_path / "nowhere"], "cannot be opened"),
        (["--config", tmp_path / "none.yaml"], "no such file"),
        (["--cache-gb", "0.000001"], "Raise --cache-gb"),
        (["--set", "epochs=none"], "epochs is 'none'"),
    ]
    for number, (words, expected) in enumerate(cases):
        code, _, err = polyprompt("align", *toy(place), *words, "--out", tmp_path / str(number))
        assert code == 2, words
        assert expected in err, err
        assert "Traceback" not in err
    assert polyprompt("search", tmp_path, "a dog", "--images", place / "photos")[0] == 2
    assert polyprompt("align", tmp_path / "no-photos", "--out", tmp_path / "x")[0] == 2


def test_cost_gives_the_papers_figures(polyprompt):
    code, out, err = polyprompt("cost")
    assert code == 0, err
    nothing, captions = (float(line.split()[1]) for line in out.splitlines()[1:3])
    assert nothing == pytest.approx(144.2, rel=0.03)
    assert captions == pytest.approx(24.8, rel=0.03)
