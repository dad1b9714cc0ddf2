"""import and export-original of adapters on the command line, genuine files of their authors among them."""

import json
from pathlib import Path

import pytest
import torch
from golden_cases import FOLDER, Case
from safetensors.torch import save_file

from polyprompt.runs.load import load

GIVEN = {
    "clip_adapter": ["--set", "template=a photo of a {}, a type of pet."],
    "taskres": ["--set", "alpha=0.5"],
    "clip_lora": [],
    "vdt_self_attn": ["--descriptions", "said.json"],
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_genuine_file_becomes_an_adapter_and_goes_back(name, polyprompt, tmp_path, cd):
    cd(tmp_path)
    case, folder = Case(name), FOLDER / "checkpoints" / name
    method = type(case.config).__module__.rpartition(".")[2]
    save_file({key: tensor.contiguous() for key, tensor in case.state.items()}, "clip.safetensors")
    Path("said.json").write_text(json.dumps(case.facts.get("sentences", {})))
    Path("names.txt").write_text("\n".join(case.class_names))
    words = ["import", method, folder, "--encoder", "clip.safetensors", "--out", "taken", "--classes", "@names.txt"]
    code, _, err = polyprompt(*words, *GIVEN[name])
    assert code == 0, err
    taken = load("taken").method
    with torch.no_grad():
        if "template" not in getattr(case.config, "__dataclass_fields__", {}) or name == "clip_adapter":
            case.close(taken.logits(taken.see(case.tensors["images"])), "after.logits")
    code, out, err = polyprompt("export-original", "taken", "back", "--epoch", 5)
    assert code == 0, err
    assert Path(out.strip()).is_file()


def test_what_is_said_wrongly_is_one_line(polyprompt, tmp_path):
    words = ["import", "taskres", tmp_path, "--encoder", "clip", "--out", tmp_path / "out", "--classes", "a,b"]
    for assignment, message in (("alpha", "write key=value"), ("alfa=1", "no setting is called 'alfa'")):
        code, _, err = polyprompt(*words, "--set", assignment)
        assert (code, message in err) == (2, True), err
