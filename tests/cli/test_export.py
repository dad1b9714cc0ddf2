"""export, as a shell runs it."""

import json
import re

import onnxruntime
import pytest

import polyprompt as pp
from polyprompt.adapt.engine import build
from polyprompt.methods import coop
from polyprompt.runs.saved import save


@pytest.fixture
def run(tmp_path, clip, unchecked):
    """A saved CoOp, whose encoder is opened by name."""
    save(build(coop.Config(context=2), pp.load_encoder(str(clip)), ["cat", "dog"]), tmp_path / "run")
    return tmp_path / "run"


def test_an_adapter_becomes_an_onnx_file_for_any_classes(run, polyprompt, tmp_path):
    code, out, _ = polyprompt("export", run, tmp_path / "pets.onnx", "--classes", "cat,dog,otter")
    # Torch writes the file, so its exact size is torch's affair.
    assert code == 0
    assert re.fullmatch(r".*: 3 classes, pictures of 32 x 32, \d\.\d MB\n", out)
    session = onnxruntime.InferenceSession(tmp_path / "pets.onnx", providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == ["cat", "dog", "otter"]


def test_a_file_in_the_way_is_one_line_before_the_run_is_opened(polyprompt, tmp_path):
    (tmp_path / "pets.onnx").write_text("mine")
    code, _, err = polyprompt("export", tmp_path / "no run", tmp_path / "pets.onnx")
    assert code == 2
    assert err.count("\n") == 1
    assert "pets.onnx: exists already" in err
