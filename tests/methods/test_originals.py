"""Authors' checkpoints: read without executing, equal in logits, written back; what does not fit is named."""

import copy
import json
import os
import re
import zipfile
from dataclasses import replace

import golden_cases as golden
import pytest
import torch
from golden_cases import FOLDER, TOLERANCE, Case
from safetensors.torch import load_file

from polyprompt.adapt.adapter import method_name
from polyprompt.adapt.engine import build
from polyprompt.errors import ConfigError, FileError
from polyprompt.methods.originals import LAYOUTS, export_original, import_original
from polyprompt.methods.originals.layout import Files

NAMES = {"CoOp": "coop", "CoCoOp": "cocoop", "VPT": "vpt", "MaPLe": "maple", "PromptSRC": "promptsrc"}
TRAINED = [name for name in golden.names() if method_name(Case(name).config) in LAYOUTS.keys() - {"tip_adapter"}]


def sample(folder: str) -> Case:
    """The case that a folder of checkpoints belongs to: the longest case name it begins with."""
    return Case(max((name for name in golden.names() if folder.startswith(name)), key=len))


def read(case: Case, path, class_names=None, **options):
    name = NAMES.get(case.facts["trainer"]) or method_name(case.config)
    config = case.config
    position = getattr(config, "position", "end")
    if isinstance(LAYOUTS[name], Files) or LAYOUTS[name].needs_names:
        options = {"settings": {}}
        for field in (
            "template",
            "templates",
            "alpha",
            "scale",
            "weight",
            "ratio",
            "kind",
            "descriptions",
            "dropout",
            "attention_dropout",
            "words",
            "position",
            "sentence",
            "share",
            "temperature",
            "distance",
            "shots",
            "beside",
        ):
            if hasattr(config, field):
                options["settings"][field] = getattr(config, field)
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
    file = export_original(method, tmp_path, epoch=3)
    with pytest.raises(FileError, match=f"{file.name}: exists already"):
        export_original(method, tmp_path, epoch=3)
    back = read(case, tmp_path, case.class_names, words=getattr(method.config, "words", None))
    for key, value in case.named(method).items():
        assert torch.equal(value, case.named(back)[key])
    frozen = method.see(case.tensors["images"])
    assert torch.equal(method.logits(frozen), back.logits(frozen))


@pytest.mark.parametrize("name", golden.adapters())
def test_adapters_files_give_the_authors_logits_and_are_written_alike(name, tmp_path):
    case, folder = Case(name), golden.adapters()[name]
    method = read(case, folder, case.class_names)
    with torch.no_grad():
        case.close(method.logits(method.see(case.tensors["images"])), "after.logits")
    with pytest.raises(FileError, match="does not say which classes"):
        read(case, folder)
    written = export_original(method, tmp_path, epoch=5)
    (theirs,) = [path for path in folder.rglob("*.p*") if path.is_file()]
    assert written.relative_to(tmp_path) == theirs.relative_to(folder)
    ours, original = (dict(_walk(torch.load(path, weights_only=True), "")) for path in (written, theirs))
    original = {key: tensor for key, tensor in original.items() if not key.startswith(".optimizer")}
    assert set(ours) == set(original)
    for key, tensor in original.items():
        torch.testing.assert_close(ours[key], tensor, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("kgcoop", "meta_net.linear1.weight"),
        ("coprompt", "model_distill.visual.proj"),
        ("bmip", "prompt_learner.ctx_v"),
        ("bmip", "text_encoder.transformer.resblocks.1.learnable_linear2.weight"),
    ],
)
def test_what_the_authors_leave_in_is_passed_over(name, left, tmp_path):
    case = Case(name)
    method = case.build()
    file = export_original(method, tmp_path, epoch=1)
    content = torch.load(file, weights_only=True)
    content["state_dict"][left] = torch.zeros(3, 3)
    torch.save(content, file)
    view = method.see(case.tensors["images"])
    assert torch.equal(read(case, tmp_path, case.class_names).logits(view), method.logits(view))
    content["state_dict"]["other" if name == "kgcoop" else "prompt_learner.other"] = torch.zeros(3, 3)
    torch.save(content, file)
    with pytest.raises(FileError, match=r"has the unknown key prompt_learner\.other"):
        read(case, tmp_path, case.class_names)


def _walk(content, name):
    """Every tensor in nested mappings."""
    if isinstance(content, torch.Tensor):
        yield name, content
    for key, value in content.items() if isinstance(content, dict) else ():
        yield from _walk(value, f"{name}.{key}")


@pytest.mark.parametrize("learn", [True, False])
def test_tip_adapters_cache_goes_out_and_comes_back(learn, tmp_path):
    case = next(Case(name) for name in golden.names() if Case(name).facts["trainer"] == "TipAdapter")
    method = build(replace(case.config, learn=learn), case.encoder, case.class_names)
    method.adapter.fit(method.see(case.tensors["images"]).images[None], case.tensors["labels"])
    export_original(method, tmp_path / "caches", epoch=1)
    shots = {path.name for path in (tmp_path / "caches").iterdir()}
    assert shots == {"keys_2shots.pt", "values_2shots.pt"} | ({"best_F_2shots.pt"} if learn else set())
    given = {"alpha": method.config.alpha, "templates": method.config.templates}
    back = import_original("tip_adapter", tmp_path / "caches", case.encoder, case.class_names, settings=given)
    view = method.see(case.tensors["images"])
    torch.testing.assert_close(back.logits(view), method.logits(view))
    with pytest.raises(FileError, match=r"values are \[8, 4\], for .* and 3 classes \[8, 3\] are needed"):
        import_original("tip_adapter", tmp_path / "caches", case.encoder, case.class_names[:3])
    (tmp_path / "caches" / "keys_2shots.pt").unlink()
    with pytest.raises(FileError, match=r"needs one keys_\*shots.pt in it"):
        import_original("tip_adapter", tmp_path / "caches", case.encoder, case.class_names)


def test_adapters_files_that_do_not_fit(tmp_path):
    lora = Case("clip_lora")
    file = export_original(lora.build(), tmp_path, epoch=1)

    def spoilt(change, message):
        content = torch.load(file, weights_only=True)
        change(content)
        torch.save(content, tmp_path / "spoilt.pt")
        with pytest.raises((FileError, ConfigError), match=message) as error:
            import_original("clip_lora", tmp_path / "spoilt.pt", lora.encoder, lora.class_names)
        assert "\n" not in str(error.value)

    spoilt(lambda c: c["metadata"].update(r=4), r"layer_0.q_proj.w_lora_A is \[2, 64\], .* need \[4, 64\]")
    spoilt(lambda c: c["metadata"].update(params=["q"]), "has the unknown key layer_0.k_proj.w_lora_A")
    spoilt(lambda c: c["weights"].pop("layer_1"), "lacks layer_1")
    spoilt(lambda c: c.pop("metadata"), "weights and metadata are expected")
    spoilt(lambda c: c["metadata"].update(position="sideways"), "position is 'sideways'")
    taskres = Case("taskres")
    file = export_original(taskres.build(), tmp_path, epoch=1)
    with pytest.raises(FileError, match="its base_text_features are not what"):
        import_original("taskres", file, taskres.encoder, ["a", "b", "c", "d", "e"])
    with pytest.raises(FileError, match=r"lacks adapter\.fc\.0\.weight\. Is it a checkpoint of clip_adapter"):
        import_original("clip_adapter", file, taskres.encoder, taskres.class_names)
    with pytest.raises(ConfigError, match="maple: takes no settings here"):
        import_original("maple", file, taskres.encoder, settings={"depth": 3})


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


DEEP = (
    "bmip",
    "clip_lora_text_mid",
    "coprompt",
    "ivlp",
    "lamm_maple",
    "maple_depth3",
    "mma",
    "mmrl",
    "tcp",
    "vpt_deep",
)


@pytest.mark.parametrize("name", DEEP)
def test_an_encoder_with_fewer_blocks_is_named_and_no_setting_asked_for(name, tmp_path):
    case = Case(name)
    file = export_original(case.build(), tmp_path, epoch=1)
    shallow = copy.deepcopy(case.encoder)
    for tower in (shallow.image, shallow.text):
        tower.transformer.resblocks, tower.depth = tower.transformer.resblocks[:1], 1
    with pytest.raises(
        FileError, match=f"{file.name}: does not fit .* (has 1|no such).*; give the encoder that it"
    ) as error:
        import_original(method_name(case.config), file, shallow, case.class_names)
    assert "--set" not in str(error.value)


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


@pytest.mark.parametrize("name", [name for name in golden.names() if method_name(Case(name).config) == "lamm"])
def test_lamm_in_its_three_forms_says_what_stands_around_its_tokens(name, tmp_path):
    case = Case(name)
    case.put(f"step{case.facts['steps']}", method := case.build())  # a context that moved tells itself from words
    file = export_original(method, tmp_path, epoch=2)
    whole = case.config.beside == "maple"
    assert file.parent.name == ("MultiModalPromptLearner" if whole else "prompt_learner")
    keys = set(torch.load(file, weights_only=True)["state_dict"])
    alone = {"ctx", "token_classes", "fix_token"}
    assert ({f"prompt_learner.{key}" for key in alone} if whole else alone) <= keys
    back = import_original("lamm", tmp_path, case.encoder, case.class_names, settings={"shots": case.config.shots})
    assert back.config.beside == method.config.beside
    view = method.see(case.tensors["images"])
    assert torch.equal(back.logits(view), method.logits(view))
    case.close(back.logits(view), "after.logits")
    with pytest.raises(FileError, match="its tokens did not start as those of zebra"):
        import_original("lamm", tmp_path, case.encoder, ["zebra", *case.class_names[1:]])
