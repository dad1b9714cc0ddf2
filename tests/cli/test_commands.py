"""The commands from end to end on toy towers kept as folders."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from run_files import log_of
from safetensors.torch import load_file

import polyprompt as pp
from polyprompt.media.frames import open_frames


def width_of(path):
    with Image.open(path) as picture:
        return picture.width


def test_from_pictures_to_a_page(place, toy, tmp_path, polyprompt):
    run = tmp_path / "run"
    code, printed, err = polyprompt("align", *toy(), "--out", run)
    assert code == 0, err
    results = json.loads((run / "results.json").read_text())
    (found,) = results["retrieval"].values()
    assert found["images"] == found["captions"] == 4
    assert 0 <= found["image_to_text"]["recall@1"] <= 1
    lines = log_of(run)
    assert {"loss", "contrast", "diversity", "negation", "scale"} <= set(lines[0])
    assert "dev" in lines[-1]

    code, out, err = polyprompt("evaluate", run, place / "photos", "--split", "test")
    assert code == 0, err
    assert "text to image" in out
    assert out in printed
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

    code, _, err = polyprompt("align", *toy(), "--out", run)
    assert (code, err.count("\n")) == (2, 1)
    assert "--resume" in err


@pytest.mark.slow
@pytest.mark.outside("process", "socket")
def test_two_processes_train_the_model_of_one(toy, tmp_path, polyprompt):
    """From an empty cache, which the first process fills and the second reads."""
    assert polyprompt("align", *toy(), "--out", tmp_path / "one")[0] == 0
    options = "--cpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
    launch = [sys.executable, "-m", "accelerate.commands.launch", *options.split()]
    command = [*launch, "-m", "polyprompt", "align", *map(str, toy()), "--out", tmp_path / "two"]
    environment = os.environ | {"POLYPROMPT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("one", "two"))
    torch.testing.assert_close(two, one, atol=1e-5, rtol=1e-5)
    scores = [json.loads((tmp_path / run / "results.json").read_text())["retrieval"] for run in ("one", "two")]
    assert scores[0] == scores[1]


def test_videos_among_pictures(films, toy, tmp_path, polyprompt):
    for name, words in (("cached", ["--set", "cache_dtype=fp32"]), ("plain", ["--set", "cache=false"])):
        code, _, err = polyprompt(
            "align", *toy(films), *words, "--set", "image.frames=3", "--epochs", 1, "--out", tmp_path / name
        )
        assert code == 0, err
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("cached", "plain")]
    first, again = (json.loads(log[0])["loss"] for log in logs)
    assert first == pytest.approx(again, abs=1e-5)
    cached = pp.load(tmp_path / "cached")
    (found,) = json.loads((tmp_path / "cached" / "results.json").read_text())["retrieval"].values()
    assert found["images"] == 5

    code, out, err = polyprompt("search", tmp_path / "cached", "a red square", "--images", films, "--top", 99)
    assert code == 0, err
    scores = {Path(path).name: float(score) for score, path in map(str.split, out.splitlines())}
    assert len(scores) == 30
    frames = cached.encode_image(open_frames(films / "film0.mp4", 3))
    mean = torch.nn.functional.normalize(frames.mean(dim=0), dim=-1)
    assert scores["film0.mp4"] == pytest.approx(float(cached.encode_text(["a red square"])[0] @ mean), abs=1e-4)

    (films / "film0.mp4").write_bytes((films / "film0.mp4").read_bytes()[:200])
    _, out, err = polyprompt("search", tmp_path / "cached", "a red square", "--images", films, "--top", 99)
    assert "left out, " in err
    assert "film0.mp4: damaged or truncated" in err
    assert len(out.splitlines()) == 29
