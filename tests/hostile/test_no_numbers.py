"""Weights of which one is NaN or infinite: every way in says the file and the tensor, and no score becomes NaN."""

import json
import math

import open_clip
import pytest
import torch
from golden_cases import Case, names, write_clip
from safetensors.torch import load_file, save_file
from test_weights_that_lack import OPENERS, save_towers

from polyprompt.adapt.engine import build
from polyprompt.disk.files import write_manifest
from polyprompt.errors import FileError, PolypromptError, TowerError
from polyprompt.methods import coop
from polyprompt.methods.originals import export_original, import_original
from polyprompt.runs.saved import TENSORS, load_adapter, save
from polyprompt.towers.llm import open_llm
from polyprompt.zoo.load import open_encoder

WAYS = OPENERS | {"open_clip": open_encoder}
WRONG = [math.nan, math.inf, -math.inf]


def save_open_clip(folder):
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8, "head_width": 32}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    folder.mkdir()
    tensors = open_clip.model.CLIP(16, vision, text).state_dict()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "open_clip_model.safetensors")
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def place(tmp_path_factory, toy_tokenizer):
    """A folder of each kind."""
    place = tmp_path_factory.mktemp("towers")
    save_towers(place, toy_tokenizer)
    save_open_clip(place / "open_clip")
    return place


def with_one(tensor, value):
    """A copy in which the last number is another."""
    changed = tensor.clone()
    changed.view(-1)[-1] = value
    return changed


@pytest.mark.parametrize("way", WAYS)
def test_folders(way, place, cache):
    """The first tensor, one in the middle, the largest, and a CLIP's scale."""
    (file,) = (place / way).glob("*.safetensors")
    tensors = load_file(file)
    WAYS[way](str(file.parent))
    own = [name for name in sorted(tensors) if tensors[name].is_floating_point() and "classifier" not in name]
    own = [name for name in own if name != "lm_head.weight"]
    wanted = {own[0], own[len(own) // 2], max(own, key=lambda name: tensors[name].numel())}
    try:
        for name, value in zip(sorted(wanted | ({"logit_scale"} & set(own))), WRONG * 2, strict=False):
            save_file(tensors | {name: with_one(tensors[name], value)}, file, metadata={"format": "pt"})
            with pytest.raises(PolypromptError) as error:
                WAYS[way](str(file.parent))
            assert str(file.parent) in str(error.value)
            assert name in str(error.value)
            assert "\n" not in str(error.value)
    finally:
        save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", [torch.float32, None, torch.bfloat16])
def test_a_file_of_openais(tmp_path, dtype):
    file = write_clip(tmp_path / "clip.safetensors")
    tensors = load_file(file)
    assert open_encoder(str(file), dtype).encode_text("a cat").isfinite().all()
    for name, value in (("visual.proj", math.nan), ("text_projection", -math.inf), ("visual.ln_post.bias", math.inf)):
        save_file(tensors | {name: with_one(tensors[name], value)}, file)
        with pytest.raises(FileError, match=rf"clip\.safetensors: {name} has 1 of {tensors[name].numel():,} numbers"):
            open_encoder(str(file), dtype)
    for value in (*WRONG, 1000.0, -1000.0):  # the exponential of the last two is infinite and 0
        save_file(tensors | {"logit_scale": torch.tensor(value)}, file)
        with pytest.raises(TowerError, match=r"clip\.safetensors: logit_scale is (nan|-?inf|-?1000), and cosines"):
            open_encoder(str(file), dtype)


def test_a_decoder_that_was_noted_is_looked_at_once_it_is_touched(place, cache, tmp_path):
    """What its hash was is kept in the cache, so a second opening does not read all of it."""
    file = place / "decoder" / "model.safetensors"
    tensors = load_file(file)
    for _ in range(2):
        open_llm(str(file.parent))
    name = max(tensors, key=lambda name: tensors[name].numel())
    try:
        save_file(tensors | {name: with_one(tensors[name], math.nan)}, file, metadata={"format": "pt"})
        for _ in range(2):
            with pytest.raises(FileError, match="NaN or infinite"):
                open_llm(str(file.parent))
    finally:
        save_file(tensors, file, metadata={"format": "pt"})


def test_an_adapter_of_ours(tmp_path):
    """Its manifest fits, as where the training that wrote it went wrong."""
    case = Case(next(name for name in names() if Case(name).facts["trainer"] == "MaPLe"))
    save(build(coop.Config(context=2), case.encoder, ["cat", "dog"]), tmp_path / "model")
    tensors = load_file(tmp_path / "model" / TENSORS)
    (name,) = tensors
    save_file({name: with_one(tensors[name], math.nan)}, tmp_path / "model" / TENSORS)
    (tmp_path / "model" / "manifest.json").unlink()
    write_manifest(tmp_path / "model")
    with pytest.raises(FileError, match=rf"{TENSORS}: {name} has 1 of"):
        load_adapter(tmp_path / "model", case.encoder)


@pytest.mark.parametrize("key", ["prompt_learner.ctx", "image_encoder.proj"])
def test_an_authors_checkpoint(key, tmp_path):
    """In what learned, and in the frozen weights that are compared with the encoder's."""
    case = Case(next(name for name in names() if Case(name).facts["trainer"] == "MaPLe"))
    file = export_original(case.build(), tmp_path, epoch=1)
    content = torch.load(file, weights_only=True)
    content["state_dict"][key] = with_one(content["state_dict"][key], math.nan)
    torch.save(content, file)
    with pytest.raises(FileError, match=rf"{key} (has 1 of .* numbers|has other values)"):
        import_original("maple", file, case.encoder, case.class_names)


@pytest.mark.parametrize("name", ["clip_lora", "tip_adapter", "taskres"])
def test_an_adapters_own_files(name, tmp_path):
    case = Case(name if name != "tip_adapter" else next(n for n in names() if Case(n).facts["trainer"] == "TipAdapter"))
    method = build(case.config, case.encoder, case.class_names)
    if name == "tip_adapter":
        method.adapter.fit(method.see(case.tensors["images"]).images[None], case.tensors["labels"])
    export_original(method, tmp_path, epoch=1)
    for file in [path for path in tmp_path.rglob("*") if path.suffix == ".pt" or ".pth.tar" in path.name]:
        content = torch.load(file, weights_only=True)
        spoilt = content
        if isinstance(spoilt, torch.Tensor):
            content = with_one(spoilt, math.nan)
        else:
            while not isinstance(next(iter(spoilt.values())), torch.Tensor):
                spoilt = spoilt.get("state_dict") or spoilt.get("weights") or next(iter(spoilt.values()))
            key = next(iter(spoilt))
            spoilt[key] = with_one(spoilt[key], math.nan)
        before = file.read_bytes()
        torch.save(content, file)
        with pytest.raises(FileError, match=r"NaN or infinite|are not what"):
            import_original(name, tmp_path, case.encoder, case.class_names)
        file.write_bytes(before)
