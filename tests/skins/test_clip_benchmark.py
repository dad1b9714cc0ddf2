"""clip_benchmark's own command line on a run, over small local webdatasets, against figures of our own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from toy_run import captioned, tar

import polyprompt as pp
from polyprompt.media.pictures import open_picture
from polyprompt.skins.clip_benchmark import Texts, accuracy, load_ours

TEMPLATES = ["a photo of {c}", "{c}"]
CLASSES = ["red", "green", "blue", "white"]


def test_what_its_loaders_give(aligned):
    model, transform, tokenizer = load_ours(str(aligned / "run"), "any", None, "cpu")
    run = pp.load(aligned / "run")
    texts = tokenizer(["a cat", "a dog"]).to("cpu")
    assert isinstance(texts, Texts)
    torch.testing.assert_close(model.eval().encode_text(texts), run.encode_text(["a cat", "a dog"]))
    picture = transform(open_picture(captioned(aligned)[0][0]))
    torch.testing.assert_close(model.encode_image(picture[None]), run.encode_image(picture))


def test_accuracy_is_that_of_a_loop():
    draw = torch.Generator().manual_seed(0)
    output, target = torch.randn(40, 7, generator=draw), torch.randint(7, (40,), generator=draw)
    for k, found in zip((1, 3, 7), accuracy(output, target, (1, 3, 7)), strict=True):
        hits = sum(
            int(label) in row.argsort(descending=True)[:k].tolist() for row, label in zip(output, target, strict=True)
        )
        assert found == pytest.approx(hits / 40)


@pytest.fixture(scope="module")
def sets(aligned):
    """The same sixteen pictures with captions, and with classes."""
    rows = captioned(aligned)[:16]
    pictures = {f"{i:04d}.png": file.read_bytes() for i, (file, _) in enumerate(rows)}
    members = {
        "retrieval": {f"{i:04d}.txt": f"{caption} {i}".encode() for i, (_, caption) in enumerate(rows)},
        "classes": {f"{i:04d}.cls": str(CLASSES.index(c.split()[1])).encode() for i, (_, c) in enumerate(rows)},
    }
    for name, labels in members.items():
        folder = aligned / name
        (folder / "test").mkdir(parents=True)
        (folder / "test" / "nshards.txt").write_text("1")
        tar(folder / "test" / "0.tar", dict(sorted((pictures | labels).items())))
    (aligned / "retrieval" / "dataset_type.txt").write_text("retrieval")
    (aligned / "classes" / "classnames.txt").write_text("\n".join(CLASSES))
    (aligned / "classes" / "zeroshot_classification_templates.txt").write_text("\n".join(TEMPLATES))
    return aligned


def program(*words, cwd):
    command = [sys.executable, "-m", "polyprompt.skins.clip_benchmark", *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def evaluated(place, name, task, *words):
    done = program(
        "eval", "--model", place / "run", "--dataset", f"wds/{name}", "--dataset_root", place / name, "--task", task,
        "--no_amp", "--num_workers", 0, *words, cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((place / f"{name}_polyprompt_en_{task}.json").read_text())["metrics"]


@pytest.mark.slow
@pytest.mark.outside("process", "socket")
def test_retrieval(sets):
    found = evaluated(sets, "retrieval", "zeroshot_retrieval", "--recall_k", 1, 5)
    rows = captioned(sets)[:16]
    run = pp.load(sets / "run")
    scores = run.similarity([f"{caption} {i}" for i, (_, caption) in enumerate(rows)], [file for file, _ in rows])
    places = [int((row > row[i]).sum()) for i, row in enumerate(scores)]
    for k in (1, 5):
        assert found[f"image_retrieval_recall@{k}"] == pytest.approx(np.mean([place < k for place in places]))


@pytest.mark.slow
@pytest.mark.outside("process", "socket")
def test_classification_and_its_table(sets):
    found = evaluated(sets, "classes", "zeroshot_classification")
    run = pp.load(sets / "run")
    classes = torch.stack(
        [run.encode_text([template.format(c=name) for template in TEMPLATES]).mean(dim=0) for name in CLASSES]
    )
    rows = captioned(sets)[:16]
    images = run.encode_image([file for file, _ in rows])
    guesses = (images @ torch.nn.functional.normalize(classes, dim=1).T).argmax(dim=1)
    labels = [CLASSES.index(caption.split()[1]) for _, caption in rows]
    assert found["acc1"] == pytest.approx(np.mean(guesses.numpy() == labels))
    done = program("build", "classes_polyprompt_en_zeroshot_classification.json", "--output", "all.csv", cwd=sets)
    assert done.returncode == 0, done.stderr
    assert "acc1" in (sets / "all.csv").read_text()


@pytest.mark.slow
@pytest.mark.outside("process", "socket")
def test_a_run_that_is_not_there_is_one_line(tmp_path):
    done = program("eval", "--model", tmp_path / "none", "--dataset", "wds/a", "--dataset_root", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("polyprompt: ")
