"""Every command of the README is one that the program takes, and its Python runs, on a toy model."""

import re
import shlex
from pathlib import Path

import jaxtyping
import pytest
import torch
import typer
from PIL import Image
from toy_encoders import toy_encoder

import polyprompt as pp
from polyprompt.cli.main import app
from polyprompt.methods import config_of

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_taken_as_it_stands(line):
    program, name, *words = shlex.split(line)
    assert program == "polyprompt"
    command = typer.main.get_command(app).commands[name]
    assert command.make_context(name, words).params


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_runs(code, monkeypatch, tmp_path, capsys):
    class Toy:
        """Answers with tensors of the shapes that the README names."""

        prompts = tuple("abcdef")

        def encode_text(self, texts):
            return torch.zeros(len(texts), 12)

        encode_image = encode_text

        def similarity(self, texts, images, aspect_weights=None):
            assert aspect_weights is None or len(aspect_weights) == len(self.prompts)
            return torch.zeros(len(texts), len(images))

        def attention(self, images):
            return torch.zeros(len(images), 6, 7, 7)

    def load(run):
        if run != "runs/pets":
            return Toy()
        encoder = toy_encoder("clip")
        return pp.Classifier(config_of("maple")(depth=2, words="a photo").build(encoder, ["cat", "dog", "hamster"]))

    monkeypatch.setattr("polyprompt.skins.sklearn.opened", lambda name: toy_encoder("clip"))
    monkeypatch.setenv("POLYPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # torch.export cannot read its checks
    for name in ("cat.png", "dog.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pp, "load", load, raising=False)
    exec(compile(code, "README.md", "exec"), {})
    expected = {"demo": "torch.Size([2, 12])", "load": "torch.Size([2, 3])", "PromptClassifier": "(2, 2)"}
    assert next(shape for word, shape in expected.items() if word in code) in capsys.readouterr().out


def test_the_make_targets_exist():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
