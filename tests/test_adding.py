"""docs/adding.md does what it says: its files are written, and its code runs on toy models."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from toy_decoders import toy_decoder
from toy_encoders import toy_encoder, toy_images

from polyprompt.data import readers
from polyprompt.data.read import read_pairs

PAGE = (Path(__file__).parents[1] / "docs" / "adding.md").read_text(encoding="utf-8")
SECTIONS = {
    title: re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


@pytest.fixture
def folder(tmp_path):
    """Two pictures with notes."""
    for name, lines in (("cat", "a cat\na sad cat"), ("dog", "a dog")):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.note").write_text(lines)
    return tmp_path


@pytest.fixture
def run(folder, import_from, toy_tokenizer):
    """Writes the files of a section and runs its other code; the names that this leaves behind."""
    (folder / "path").mkdir()
    import_from(folder / "path")

    def run(title):
        encoder = toy_encoder("clip")
        names = {
            "encoder": encoder, "pixels": toy_images(2, size=encoder.image.preprocess.size),
            "labels": torch.tensor([0, 2]), "folder": folder, "decoder": toy_decoder("qwen2"),
            "tokenizer": toy_tokenizer, "image_model": timm.create_model("test_vit"),
        }  # fmt: skip
        for code in SECTIONS[title]:
            if found := re.match(r"# (my_lab/\w+\.py)\n", code):
                path = folder / "path" / found[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(code)
                importlib.invalidate_caches()
            else:
                exec(compile(code, "docs/adding.md", "exec"), names)
        return names

    yield run
    for name in [name for name in sys.modules if name.split(".")[0] == "my_lab"]:
        del sys.modules[name]


def test_all_sections_are_tested():
    assert list(SECTIONS) == ["A method", "A tower", "A data set", "A loss"]


def test_a_method(run, capsys):
    names = run("A method")
    assert capsys.readouterr().out == "['image', 'text'] torch.Size([2, 2])\n"
    assert all(parameter.grad.abs().sum() > 0 for parameter in names["method"].learned().values())


def test_a_tower(run):
    names = run("A tower")
    assert (names["text"].width, names["text"].depth) == (32, 3)
    assert names["image"].grid == (10, 10)


def test_a_data_set(run):
    pairs = run("A data set")["pairs"]
    assert pairs.captions == ("a cat", "a sad cat", "a dog")
    assert pairs.image_of == (0, 0, 1)


def test_a_reader_in_the_package_is_found_by_its_file(tmp_path, folder, monkeypatch):
    (tmp_path / "more").mkdir()
    code = next(code for code in SECTIONS["A data set"] if code.startswith("# my_lab/notes.py"))
    (tmp_path / "more" / "notes_beside.py").write_text(code)
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path / "more")])
    readers.readers.cache_clear()
    try:
        assert read_pairs(str(folder)).captions == ("a cat", "a sad cat", "a dog")
    finally:
        readers.readers.cache_clear()
        sys.modules.pop("polyprompt.data.readers.notes_beside", None)


def test_a_loss(run):
    assert run("A loss")["slow"] < 0
