"""adapt from end to end, as a shell runs it, on toy CLIPs; and bad input."""

import json
import shutil

import pytest
import torch

import polyprompt as pp
from polyprompt.media.pictures import open_picture


def test_from_pictures_to_predictions(adapt, polyprompt, squares, clip, tmp_path):
    run = tmp_path / "run"
    code, out, err = adapt("--out", run, "--also", squares, "--seed", 3)
    assert code == 0, err
    results = json.loads((run / "results.json").read_text())
    accuracy = results["classification"]["test"]["accuracy"]
    assert f"accuracy {100 * accuracy:5.1f}" in out
    assert results["command"].startswith("polyprompt adapt ")
    assert (results["name"], results["seed"], results["classification"]["test"]["pictures"]) == ("run", 3, 16)

    picture = squares / "red" / "0.png"
    code, out, err = polyprompt("predict", run, picture, squares / "blue", "--json")
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    files = [picture, *sorted((squares / "blue").iterdir())]
    assert [line["image"] for line in lines] == [str(file) for file in files]
    classifier = pp.load(run)
    expected = classifier(files)
    found = torch.tensor([list(line["probabilities"].values()) for line in lines])
    torch.testing.assert_close(found, expected)
    assert [line["class"] for line in lines] == [classifier.class_names[i] for i in expected.argmax(dim=1)]

    code, out, err = polyprompt("predict", run, picture, "--classes", "a zebra, a crimson square", "--top", 1)
    assert code == 0, err
    new = classifier.for_classes(["a zebra", "a crimson square"])
    row = new([picture])[0]
    assert out.split() == [str(picture), f"{100 * row.max():.1f}", "%", *new.class_names[row.argmax()].split()]

    moved = clip.rename(clip.with_name("moved.safetensors"))
    try:
        code, _, err = polyprompt("predict", run, picture)
        assert (code, "toy.safetensors" in err) == (2, True)
        code, moved_out, err = polyprompt("predict", run, picture, "--encoder", moved, "--json")
        assert code == 0, err
        again = json.loads(moved_out)["probabilities"]
        assert again == {name: pytest.approx(p, abs=1e-5) for name, p in lines[0]["probabilities"].items()}
    finally:
        moved.rename(clip)


def test_probabilities_are_those_of_the_method(adapt, squares, tmp_path):
    assert adapt("--out", tmp_path / "run", method="coop")[0] == 0
    classifier = pp.load(tmp_path / "run")
    file = squares / "red" / "0.png"
    pixels = torch.stack([classifier.preprocess(open_picture(file))])
    with torch.no_grad():
        expected = classifier.method.logits(classifier.method.see(pixels)).softmax(dim=1)
    for pictures in ([file], [str(file)], [open_picture(file)], pixels):
        assert torch.equal(classifier(pictures), expected)
    assert expected.sum().item() == pytest.approx(1)


def test_a_settings_file_and_what_overrides_it(adapt, polyprompt, squares, clip, tmp_path):
    (tmp_path / "maple.yaml").write_text(
        f"data: {squares}\nencoder: {clip}\nmethod: {{name: maple, depth: 2}}\nterms: {{promptsrc: {{mean: 1.0}}}}\n"
        "epochs: 1\nshots: 2\nprecision: fp32\nprotocol: base-to-novel\n"
    )
    run = tmp_path / "run"
    code, out, err = polyprompt(
        "adapt", "--config", tmp_path / "maple.yaml", "--out", run, "--shots", 1, "--set", "terms.promptsrc.text=7",
        "--set", 'terms.promptsrc.templates=["a {}."]',
    )  # fmt: skip
    assert code == 0, err
    config = json.loads((run / "config.json").read_text())
    assert (config["shots"], config["epochs"], config["rate"]) == (1, 1, 0.0035)
    assert (config["method"]["depth"], config["terms"]["promptsrc"]["text"]) == (2, 7.0)
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["base", "novel", "harmonic"]


def test_a_finished_run_is_not_done_again(adapt, tmp_path):
    run = tmp_path / "run"
    assert adapt("--out", run)[0] == 0
    code, _, err = adapt("--out", run)
    assert (code, err.count("\n")) == (2, 1)
    assert "--resume" in err
    written = (run / "results.json").stat().st_mtime_ns
    code, out, err = adapt("--out", run, "--resume")
    assert code == 0, err
    assert (run / "results.json").stat().st_mtime_ns == written
    assert "accuracy" in out


# Bad input


def test_bad_input_is_one_line_and_exit_code_2(adapt, polyprompt, squares, clip, tmp_path):
    two = shutil.copytree(squares, tmp_path / "two")
    shutil.copytree(squares / "red", two / "Red")
    long = tmp_path / "long"
    for name in ("d" * 80, "e" * 80):
        shutil.copytree(squares / "red", long / " ".join(name))
    one = tmp_path / "one"
    shutil.copytree(squares / "red", one / "red")
    table = squares / "labels.csv"
    table.write_text("path,label\nred/0.png,red\nred/1.png,blue\nblue/0.png,blue\n")
    numbers = squares / "numbers.csv"
    numbers.write_text("path,label\nred/0.png,0\nblue/0.png,1\n")
    cases = [
        (["--shots", 7], {}, "class 'blue' has 6 pictures, 7 shots were asked for"),
        (["--shots", 6], {}, "nothing is left to score"),
        (["--shots", 0], {}, "shots is 0"),
        ([], {"images": one}, "1 class (red)"),
        ([], {"images": two}, "the classes 'Red' and 'red' have one name"),
        ([], {"images": long}, "shorten the name or the context"),
        ([], {"images": table}, "lies in the folder of class 'red', but its label is 'blue'"),
        ([], {"images": numbers}, "a text model needs names"),
        ([], {"images": tmp_path / "nowhere"}, "no such file or folder"),
        ([], {"depth": 40}, "maple: depth is 40, but the image tower has 4 blocks"),
        ([], {"depth": "deep"}, "--set: method.depth is 'deep'; it should be a valid integer"),
        (["--set", "method.context=9"], {}, "too short to start 9 context vectors"),
        (["--set", "method.contxt=9"], {}, "Did you mean method.context"),
        (["--set", "method.depth"], {}, "write key=value"),
        (["--set", "terms.promptsrc.templates=a {}."], {}, "it should be a list"),
        (["--set", "terms=promptsrs"], {}, "Did you mean 'promptsrc'"),
        (["--set", "shot=3"], {}, "Did you mean shots"),
        ([], {"method": "mapel"}, "Did you mean 'maple'"),
        ([], {"method": "no.such.module"}, "lies in the current folder, put PYTHONPATH=. before the command"),
        ([], {"method": "json.tool"}, "a method of your own is a module with a class Config on Python's path"),
        (["--rate", "1e30", "--set", "schedule=constant"], {}, "is not finite"),
        (["--encoder", "ViT-B-61/openai"], {}, "ViT-B-61/openai"),
        (["--config", tmp_path / "none.yaml"], {}, "no such file"),
        (["--protocol", "base-to-new"], {}, "protocol is 'base-to-new'"),
    ]
    for number, (words, options, expected) in enumerate(cases):
        code, _, err = adapt(*words, "--out", tmp_path / str(number), **options)
        assert code == 2, (words, options, err)
        last = err.splitlines()[-1]
        assert expected in last, err
        assert last.startswith("polyprompt: ")
        assert "Traceback" not in err


def test_an_unreadable_picture_says_what_leaves_it_out(adapt, squares, tmp_path):
    images = shutil.copytree(squares, tmp_path / "images")
    (images / "red" / "0.png").write_bytes(b"no picture")
    code, _, err = adapt("--out", tmp_path / "run", images=images)
    assert code == 2
    assert "red/0.png: not a picture" in err.splitlines()[-1]
    assert err.endswith("or leave up to ten such out with --max-bad 10.\n")
    code, _, err = adapt("--out", tmp_path / "new", "--max-bad", 1, images=images)
    assert code == 0, err
    assert "images: left out, red/0.png" in err


def test_what_newer_methods_refuse_is_one_line(adapt, tmp_path):
    (tmp_path / "cat.json").write_text('{"cat": ["It purrs."]}')
    options = ["--set", "method.depth=2", "--descriptions", tmp_path / "cat.json"]
    cases = [
        ("coprompt", options, "no description of class"),
        ("vdt_adapter", [], "no descriptions are given"),
        ("clip_lora", ["--set", "method.rank=999"], "rank is 999, above the text tower's width"),
        ("mma", ["--set", "method.start=5", "--set", "method.end=9"], "mma: end is 9, but the text tower has"),
        ("bmip", ["--set", "method.depth=9"], "bmip: depth is 9, but the text tower has"),
        ("kgcoop", ["--set", "method.weight=-1"], "polyprompt: kgcoop: weight is -1.0; a weight is 0 or more"),
        ("kgcoop", ["--set", "method.weight=.nan"], "method.weight is nan; it should be a finite number"),
        ("maple", ["--set", "terms.focal.gamma=-1"], "polyprompt: focal: gamma is -1.0; it is 0 or more"),
    ]
    for number, (method, words, expected) in enumerate(cases):
        code, _, err = adapt(*words, "--out", tmp_path / str(number), method=method)
        assert (code, len(err.splitlines())) == (2, 1), err
        assert expected in err


def test_what_lies_here_is_looked_for_before_weights_are(adapt, polyprompt, squares, tmp_path):
    run, none = tmp_path / "run", tmp_path / "none.png"
    assert adapt("--out", run, "--set", "method.context=1")[0] == 0
    elsewhere = ["--encoder", "org/none"]
    for words in (
        ["predict", run, none, *elsewhere],
        ["evaluate", run, none, *elsewhere],
        ["explain", tmp_path / "nowhere", none, "a dog"],
        ["search", run, "--like", none, "--images", squares, *elsewhere],
        ["import", "maple", none, *elsewhere, "--out", tmp_path / "out"],
    ):
        code, _, err = polyprompt(*words)
        assert (code, len(err.splitlines())) == (2, 1), err
        assert f"{none}: no such" in err
