"""import and export-original on the command line, genuine files of the authors among them."""

import json
import os
from pathlib import Path

import golden_cases as golden
import pytest
import torch
from golden_cases import FOLDER, TOLERANCE, Case
from safetensors.torch import load_file, save_file

import polyprompt as pp
from polyprompt.runs.load import load


def test_a_published_checkpoint_comes_in_and_goes_out(maple, clip, polyprompt, squares, tmp_path):
    folder = golden.FOLDER / "checkpoints" / maple.name
    adapter = tmp_path / "adapter"
    code, out, err = polyprompt("import", "maple", folder, "--encoder", clip, "--out", adapter)
    assert code == 0, err
    method = pp.load(adapter).method
    expected = load_file(folder.with_suffix(".safetensors"))
    with torch.no_grad():
        found = method.logits(method.see(maple.tensors["images"]))
        torch.testing.assert_close(found, expected["logits"], **TOLERANCE)
        new = method.for_classes(maple.facts["new_classnames"])
        found = new.logits(new.see(maple.tensors["images"]))
    torch.testing.assert_close(found, expected["new_classes.logits"], **TOLERANCE)
    assert ", ".join(method.class_names) in out

    code, out, err = polyprompt("predict", adapter, squares / "red" / "0.png", "--json")
    assert code == 0, err
    assert list(json.loads(out)["probabilities"]) == list(method.class_names)

    code, out, err = polyprompt("export-original", adapter, tmp_path / "theirs", "--epoch", 7)
    assert code == 0, err
    (theirs,) = folder.glob("*/model.pth.tar-*")
    ours = torch.load(out.strip(), weights_only=True)["state_dict"]
    for name, tensor in torch.load(theirs, weights_only=True)["state_dict"].items():
        assert torch.equal(ours[name].float(), tensor.float()), name


def test_what_a_checkpoint_cannot_be(maple, clip, polyprompt, tmp_path):
    folder = golden.FOLDER / "checkpoints" / maple.name
    (tmp_path / "damaged").mkdir()
    damaged = tmp_path / "damaged" / "model.pth.tar-1"
    content = torch.load(next(folder.glob("*/model.pth.tar-*")), weights_only=True)
    content["state_dict"]["prompt_learner.ctxx"] = content["state_dict"].pop("prompt_learner.ctx")
    torch.save(content, damaged)
    for name, change in (("other-sizes", torch.zeros(2, 9)), ("trap", Trap(tmp_path / "executed"))):
        content = torch.load(next(folder.glob("*/model.pth.tar-*")), weights_only=True)
        content["state_dict"]["prompt_learner.ctx"] = change
        (tmp_path / name).mkdir()
        torch.save(content, tmp_path / name / "model.pth.tar-1")
    for words, expected in (
        (["mapel", folder], "Did you mean 'maple'"),
        (["zeroshot", folder], "no method with published checkpoints is called 'zeroshot'"),
        (["maple", tmp_path / "nowhere"], "nowhere: no such file or folder."),
        (["maple", tmp_path], "no MultiModalPromptLearner/model.pth.tar-N in it"),
        (["maple", folder, "--epoch", 99], "there are epochs"),
        (["coop", damaged], "Is it a checkpoint of coop"),
        (["maple", damaged], "lacks prompt_learner.ctx; it has prompt_learner.ctxx"),
        (["maple", tmp_path / "other-sizes"], "the checkpoint was trained on another encoder"),
        (["maple", tmp_path / "trap"], "refused, because its pickle calls"),
        (["maple", folder, "--classes", "a"], "1 class (a); telling classes apart needs at least two"),
        (["maple", folder, "--words", "quite other words"], "did not start from 'quite other words'"),
    ):
        code, _, err = polyprompt("import", *words, "--encoder", clip, "--out", tmp_path / "out")
        assert (code, err.count("\n")) == (2, 1), err
        assert expected in err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "executed").exists()


class Trap:
    """Would make a folder if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


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
