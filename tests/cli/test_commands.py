"""The commands from end to end on toy towers kept as folders."""

import json

import pytest
from PIL import Image

import polyprompt as pp


def width_of(path):
    with Image.open(path) as picture:
        return picture.width


def test_from_pictures_to_a_page(place, toy, tmp_path, polyprompt):
    run = tmp_path / "run"
    code, _, err = polyprompt("align", *toy(), "--out", run)
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

    code, _, err = polyprompt("align", *toy(), "--out", run)
    assert (code, err.count("\n")) == (2, 1)
    assert "--resume" in err


def test_cost_gives_the_papers_figures(polyprompt):
    code, out, err = polyprompt("cost")
    assert code == 0, err
    nothing, captions = (float(line.split()[1]) for line in out.splitlines()[1:3])
    assert nothing == pytest.approx(144.2, rel=0.03)
    assert captions == pytest.approx(24.8, rel=0.03)
