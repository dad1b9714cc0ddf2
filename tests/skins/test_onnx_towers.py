"""Both towers of a run of align as ONNX, run by onnxruntime; a search with them where there is no torch."""

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import jaxtyping
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer
from toy_run import captioned

import polyprompt as pp
from polyprompt.cli.export import command
from polyprompt.disk.files import check_manifest
from polyprompt.errors import FileError
from polyprompt.nn.tree import sequences
from polyprompt.skins.onnx import LARGEST
from polyprompt.skins.onnx_towers import TextVectors, export_towers

EXAMPLE = Path(__file__).parents[2] / "examples" / "search_with_onnx.py"
BATCHES = (
    ["a"],
    ["a cat", "two dogs play in the snow, and <s> is no control"],
    [f"text {i}" * (i + 1) for i in range(5)],
)
WAYS = [
    {},
    {"adaptive": "words"},
    {"adaptive": "input"},
    {"last_n": 2, "shared_map": True, "norm": "own"},
    {"readout": "last"},
    {"readout": "mean"},
    {"readout": "tokens"},
    {"readout": "end"},
]


def padded(model, texts):
    rows, _ = model.text.llm.tokens(texts, model.settings.text.max_tokens)
    ids, mask = torch.full((len(rows), max(map(len, rows))), 9), torch.zeros(len(rows), max(map(len, rows)))
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask.long()


@torch.no_grad()
@pytest.mark.parametrize("way", [WAYS[0], *(pytest.param(way, marks=pytest.mark.slow) for way in WAYS[1:])], ids=str)
def test_the_text_function_gives_what_the_run_gives(way, toy_run_of):
    model = pp.load(toy_run_of(**way))
    for texts in BATCHES:
        found = TextVectors(model.text)(*padded(model, texts))
        torch.testing.assert_close(found, model.encode_text(texts), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("readout", ["prompts", pytest.param("end", marks=pytest.mark.slow)])
def test_a_fresh_text_tower_has_its_own_input_rows(readout, toy_run_of, tmp_path):
    model = pp.load(toy_run_of(tower=f"vanilla:32x2@{tmp_path / 'other' / 'llm'}", readout=readout))
    assert model.text.llm.fresh
    found = TextVectors(model.text)(*padded(model, BATCHES[1]))
    torch.testing.assert_close(found, model.encode_text(BATCHES[1]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_its_layout_is_that_of_sequences(aligned):
    model = pp.load(aligned / "run")
    ids, mask = padded(model, BATCHES[1])
    rows = [row[: int(count)].tolist() for row, count in zip(ids, mask.sum(dim=1), strict=True)]
    expected = sequences(rows, model.text.tree.positive())
    found = TextVectors(model.text)._laid_out(ids * mask, mask.sum(dim=1))
    for name in ("ids", "positions", "mask", "lengths", "width"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


@pytest.fixture(scope="module")
def exported(aligned):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # torch.export cannot read its checks
        with redirect_stdout(io.StringIO()) as said:
            command(aligned / "run", aligned / "towers")
    (aligned / "said.txt").write_text(said.getvalue())
    return aligned / "towers"


@pytest.mark.slow
def test_the_command_says_that_it_wrote_a_folder(exported):
    names = "image.onnx, manifest.json, text.onnx, tokenizer.json, towers.json"
    said = exported.with_name("said.txt").read_text()
    assert re.fullmatch(rf"Folder {exported}: {names}; vectors of \d+ numbers, \d+\.\d MB\n", said)


@pytest.mark.slow
def test_files_equal_pytorch_for_any_number_of_texts_tokens_and_pictures(exported, aligned):
    model = pp.load(aligned / "run")
    text = onnxruntime.InferenceSession(exported / "text.onnx", providers=["CPUExecutionProvider"])
    for texts in BATCHES:
        ids, mask = padded(model, texts)
        (found,) = text.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        np.testing.assert_allclose(found, model.encode_text(texts).numpy(), atol=1e-4)
    image = onnxruntime.InferenceSession(exported / "image.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        pixels = torch.randn(count, 3, model.preprocess.size, model.preprocess.size)
        (found,) = image.run(["vectors"], {"pixels": pixels.numpy()})
        np.testing.assert_allclose(found, model.encode_image(pixels).numpy(), atol=1e-4)
    assert set(check_manifest(exported)) == {"text.onnx", "image.onnx", "tokenizer.json", "towers.json"}
    for name in ("text.onnx", "image.onnx"):
        onnx.checker.check_model(str(exported / name))


@pytest.mark.slow
def test_the_tokenizer_beside_them_gives_the_same_ids(exported, aligned):
    model = pp.load(aligned / "run")
    say = json.loads((exported / "towers.json").read_text())
    words = Tokenizer.from_file(str(exported / "tokenizer.json"))
    words.encode_special_tokens = True
    for texts in BATCHES:
        theirs = [say["front"] + words.encode(text, add_special_tokens=False).ids for text in texts]
        assert [row[: say["max_tokens"]] for row in theirs] == model.text.llm.tokens(texts, say["max_tokens"])[0]


@pytest.mark.slow
@pytest.mark.outside("process")
def test_the_example_searches_without_torch(exported, aligned, tmp_path):
    """torch, transformers and polyprompt cannot be imported there."""
    for name in ("torch", "torchvision", "transformers", "polyprompt"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    query = "a red square"
    command = [sys.executable, str(EXAMPLE), str(exported), str(aligned / "captions"), query]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    found = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    files = [file for file, _ in captioned(aligned)]
    scores = dict(zip(map(str, files), pp.load(aligned / "run").similarity(query, files)[0].tolist(), strict=True))
    assert [float(score) for score, _ in found] == pytest.approx(sorted(scores.values())[:-11:-1], abs=1e-3)
    assert all(float(score) == pytest.approx(scores[file], abs=1e-3) for score, file in found)
    assert len(EXAMPLE.read_text().splitlines()) <= 44


def test_a_folder_in_the_way_and_one_too_large(aligned, tmp_path):
    model = pp.load(aligned / "run")
    with pytest.raises(FileError, match="exists already"):
        export_towers(model, tmp_path)
    model.image.register_buffer("more", torch.zeros(1).expand(LARGEST // 4))  # one number in memory
    with pytest.raises(FileError, match="an ONNX file at most"):
        export_towers(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()
