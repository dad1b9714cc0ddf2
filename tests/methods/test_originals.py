"""Authors' checkpoints: read without executing, equal in logits, written back; what does not fit is named."""

import json
import os
import re
import zipfile

import golden_cases as golden
import pytest
import torch
from golden_cases import FOLDER, TOLERANCE, Case
from safetensors.torch import load_file

from polyprompt.adapt.engine import build
from polyprompt.errors import ConfigError, FileError
from polyprompt.methods.originals import FOLDERS, export_original, import_original, method_name

NAMES = {"CoOp": "coop", "CoCoOp": "cocoop", "VPT": "vpt", "MaPLe": "maple", "PromptSRC": "promptsrc"}
TRAINED = [name for name in golden.names() if method_name(Case(name).config) in FOLDERS]


def sample(folder: str) -> Case:
    """The case that a folder of checkpoints belongs to: the longest case name it begins with."""
    return Case(max((name for name in golden.names() if folder.startswith(name)), key=len))


def read(case: Case, path, class_names=None, **options):
    name = NAMES.get(case.facts["trainer"]) or method_name(case.config)
    config = case.config
    position = getattr(config, "position", "end")
    return import_original(name, path, case.encoder, class_names, position=position, **options)


@pytest.mark.parametrize("folder", golden.checkpoints())
def test_samples_give_the_authors_logits(folder):
    case = sample(folder)
    expected = load_file(FOLDER / "checkpoints" / f"{case.name}.safetensors")
    method = read(case, FOLDER / "checkpoints" / folder)
    assert list(method.class_names) == [name.replace("_", " ").lower() for name in case.class_names]
    frozen = method.see(case.tensors["images"])
    with torch.no_grad():
        torch.testing.assert_close(method.logits(frozen), expected["logits"], **TOLERANCE)
        if "new_classes.logits" in expected:
            new = method.for_classes(case.facts["new_classnames"])
            torch.testing.assert_close(new.logits(frozen), expected["new_classes.logits"], **TOLERANCE)


@pytest.mark.parametrize("folder", golden.checkpoints())
def test_export_writes_the_same_keys_and_values_back(folder, tmp_path):
    case = sample(folder)
    theirs = next((FOLDER / "checkpoints" / folder).glob("*/model.pth.tar-*"))
    method = read(case, theirs, case.class_names)
    written = export_original(method, tmp_path, epoch=7)
    assert written == tmp_path / theirs.parent.name / "model.pth.tar-7"
    ours = torch.load(written, weights_only=True)["state_dict"]
    listed = json.loads((FOLDER / "checkpoints" / f"{case.name}.json").read_text())["state_dict"][theirs.parent.name]
    assert {key: list(value.shape) for key, value in ours.items()} == {key: shape for key, (_, shape) in listed.items()}
    if case.facts["trainer"] != "PromptSRC":  # its samples hold frozen weights that were averaged as well
        for key, value in (
            torch.load(theirs, weights_only=True)["state_dict"].items() if "pickled" not in folder else ()
        ):
            torch.testing.assert_close(ours[key].float(), value.float(), rtol=0, atol=0)


@pytest.mark.parametrize("name", TRAINED)
def test_every_method_goes_out_and_comes_back(name, tmp_path):
    case = Case(name)
    method = case.build()
    export_original(method, tmp_path, epoch=3)
    back = read(case, tmp_path, case.class_names, words=getattr(method.config, "words", None))
    for key, value in case.named(method).items():
        assert torch.equal(value, case.named(back)[key])
    frozen = method.see(case.tensors["images"])
    assert torch.equal(method.logits(frozen), back.logits(frozen))


# What does not fit


@pytest.fixture(scope="module")
def maple():
    return next(Case(name) for name in golden.names() if Case(name).facts["trainer"] == "MaPLe")


@pytest.fixture
def written(maple, tmp_path):
    return export_original(maple.build(), tmp_path, epoch=1)


def changed(path, change):
    content = torch.load(path, weights_only=True)
    change(content["state_dict"])
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({"prompt_learner.ctxx": s.pop("prompt_learner.ctx")}), "lacks prompt_learner.ctx; it has"),
        (lambda s: s.pop("prompt_learner.proj.bias"), r"lacks prompt_learner\.proj\.bias"),
        (lambda s: s.pop("image_encoder.ln_post.bias"), r"lacks image_encoder\.ln_post\.bias"),
        (lambda s: s.update({"text_encoder.ln_fina.bias": torch.zeros(3)}), r"unknown key text_encoder\.ln_fina\.bias"),
        (lambda s: s.update({"prompt_learner.ctx": torch.zeros(2, 9)}), r"is \[2, 9\].*another encoder"),
        (lambda s: s.update({"image_encoder.proj": s["image_encoder.proj"][:, :-1]}), "another encoder"),
        (lambda s: s.update({"image_encoder.proj": s["image_encoder.proj"] + 1}), "other values"),
    ],
)
def test_keys_and_sizes_that_do_not_fit_are_named(maple, written, change, message):
    with pytest.raises(FileError, match=message):
        import_original("maple", changed(written, change), maple.encoder, maple.class_names)


def test_a_missing_epoch_is_named_with_those_there_are(maple, written):
    with pytest.raises(FileError, match=r"model\.pth\.tar-4 in it \(there are epochs 1\)"):
        import_original("maple", written.parent.parent, maple.encoder, maple.class_names, epoch=4)


def test_other_words_than_those_it_was_trained_with(maple, written):
    with pytest.raises(FileError, match="did not start from 'some quite other words'"):
        import_original("maple", written, maple.encoder, words="some quite other words")


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_file_cut_short_is_one_line(maple, written, size):
    written.write_bytes(written.read_bytes()[:size])
    with pytest.raises(FileError, match=re.escape(str(written))) as error:
        import_original("maple", written, maple.encoder, maple.class_names)
    assert "\n" not in str(error.value)


def test_prompts_that_start_late_have_no_original(maple):
    method = build(type(maple.config)(depth=1, text_start=1), maple.encoder, maple.class_names)
    with pytest.raises(ConfigError, match="text_start is 1"):
        export_original(method, "anywhere", epoch=1)


class Canary:
    """Would make a folder if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("place", ["scheduler", "state_dict", "optimizer"])
def test_a_pickle_that_calls_anything_is_refused_and_never_executed(maple, written, tmp_path, place):
    canary = tmp_path / "executed"
    content = torch.load(written, weights_only=True)
    content[place] = {"trap": Canary(canary)}
    torch.save(content, written)
    with pytest.raises(FileError, match=r"refused, because its pickle calls \w+\.mkdir"):
        import_original("maple", written, maple.encoder, maple.class_names)
    assert not canary.exists()
    call, arguments = Canary(canary).__reduce__()
    call(*arguments)  # the trap works
    assert canary.exists()


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.load", "torch.hub.load", "builtins.getattr"])
def test_names_off_the_list_are_refused(maple, written, name):
    module, function = name.rsplit(".", 1)
    trap = f"c{module}\n{function}\n(S'x'\ntR.".encode()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("archive/data.pkl", trap)
    with pytest.raises(FileError, match=f"calls {re.escape(name)}"):
        import_original("maple", written, maple.encoder, maple.class_names)
