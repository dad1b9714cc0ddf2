"""What a run left opens anywhere, also where its towers have moved; what does not belong to it is refused."""

import json
import shutil

import pytest
import torch
from golden_cases import Case
from safetensors.torch import load_file, save_file
from toy_runs import toy_settings

import polyprompt
from polyprompt.campe.encoder import CampeEncoder
from polyprompt.campe.model import CAMPE
from polyprompt.disk.files import make_folder, write_manifest
from polyprompt.errors import ConfigError, FileError, TowerError
from polyprompt.runs.adapt import adapt
from polyprompt.runs.align import align
from polyprompt.runs.load import load, load_aligned, load_classifier, load_encoder
from polyprompt.runs.settings import AdaptSettings

TEXTS = ["a red square", "a blue square"]
QUICK = {"epochs": 1, "batch": 4, "rate": 0.01, "shots": 3, "precision": "fp32"}


@pytest.fixture
def moved(place, tmp_path):
    """A run, an adapter on it, and towers that are not where they were; what the run made of texts."""
    for name in ("llm", "cnn"):
        shutil.copytree(place / name, tmp_path / "old" / name)
    text = {"tower": str(tmp_path / "old" / "llm"), "prompts": 3}
    image = {"tower": str(tmp_path / "old" / "cnn"), "width": 32}
    model = align(toy_settings(place, text=text, image=image, epochs=1), tmp_path / "run")
    settings = {"data": str(place / "photos"), "encoder": str(tmp_path / "run")}
    adapt(AdaptSettings(**settings, **QUICK, method={"name": "coop", "context": 2}), tmp_path / "adapted")
    rows = model.eval().encode_text(TEXTS)
    (tmp_path / "old").rename(tmp_path / "new")
    return tmp_path, rows


def test_towers_that_have_moved(moved, place):
    folder, rows = moved
    towers = {"text_tower": str(folder / "new" / "llm"), "image_tower": str(folder / "new" / "cnn")}
    with pytest.raises(TowerError, match=r"text tower .*old/llm': no such folder.* it has moved, say where: --text"):
        load(folder / "run")
    with pytest.raises(TowerError, match=r"image tower .*old/cnn': no such folder.* it has moved, say where: --text"):
        load(folder / "run", text_tower=towers["text_tower"])
    for model in (load(folder / "run", **towers), load_aligned(folder / "run" / "model", **towers)):
        assert torch.equal(model.encode_text(TEXTS), rows)
    encoder = load_encoder(str(folder / "run"), **towers)
    torch.testing.assert_close(encoder.encode_text(TEXTS), rows, atol=1e-6, rtol=0)

    with pytest.raises(TowerError, match=r"adapted/model: was trained on .*run, which cannot be opened .*--encoder"):
        load(folder / "adapted")
    pictures = [place / "photos" / "red" / "0.png"]
    by_towers = load(folder / "adapted", **towers)
    assert torch.equal(by_towers(pictures), load(folder / "adapted", encoder)(pictures))
    (folder / "run").rename(folder / "elsewhere")
    by_name = load(folder / "adapted", str(folder / "elsewhere"), **towers)
    assert torch.equal(by_name(pictures), by_towers(pictures))


def test_other_towers_are_not_taken(moved):
    place, _ = moved
    llm, cnn = place / "new" / "llm", place / "new" / "cnn"
    tensors = load_file(llm / "model.safetensors")
    save_file({name: 1.01 * tensor for name, tensor in tensors.items()}, llm / "model.safetensors", {"format": "pt"})
    with pytest.raises(FileError, match=r"trained on a text tower .* the one found here is another"):
        load(place / "run", text_tower=str(llm), image_tower=str(cnn))


def test_what_does_not_belong_to_a_run_is_refused(moved, place):
    folder, _ = moved
    towers = {"text_tower": str(place / "llm"), "image_tower": str(place / "cnn")}
    with pytest.raises(ConfigError, match="was made by align and stands on no encoder"):
        load(folder / "run", "ViT-B-16/openai", **towers)
    with pytest.raises(FileError, match="was made by adapt and tells classes apart; give a run of align"):
        load_aligned(folder / "adapted")
    with pytest.raises(TowerError, match="holds prompts that were trained on"):
        load_encoder(folder / "adapted")
    for number, content in enumerate(("[]", "null", "5")):
        foreign = make_folder(folder / f"foreign {number}")
        (foreign / "adapter_config.json").write_text(content)
        with pytest.raises(TowerError, match="holds prompts that were trained on None, no encoder"):
            load_encoder(str(foreign))
    with pytest.raises(ConfigError, match="was not made by align, so it has no towers"):
        load_encoder("ViT-B-16/openai", **towers)
    with pytest.raises(ConfigError, match="was trained on captions and has no classes of its own"):
        load_classifier(folder / "run", **towers)
    assert load_classifier(folder / "run", ["cat", "dog"], **towers).class_names == ("cat", "dog")
    with pytest.raises(FileError, match="no saved model here"):
        load(folder / "new")


def test_a_run_without_a_model_says_how_to_go_on(tmp_path):
    (tmp_path / "inputs.json").write_text('{"kind": "align"}')
    for opened in (load, load_encoder):
        with pytest.raises(FileError, match=r"no model yet; finish it with `polyprompt align \.\.\. --resume`"):
            opened(str(tmp_path))


@pytest.mark.parametrize(
    "config",
    [
        [],
        {"format": 1},
        {"format": "polyprompt-campe-1"},
        {"format": "polyprompt-campe-1", "fingerprints": []},
        {"format": "polyprompt-campe-1", "fingerprints": {"text": "a"}, "settings": {}},
        {"format": "polyprompt-campe-1", "fingerprints": {"text": "a", "image": 5}, "settings": {}},
        {"format": "polyprompt-campe-1", "fingerprints": {"text": "a", "image": "b"}, "settings": []},
    ],
    ids=str,
)
def test_a_config_that_holds_something_else(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"")
    write_manifest(tmp_path)
    with pytest.raises((FileError, ConfigError), match=r"config\.json: "):
        load(tmp_path)


def test_an_encoder_is_noted_with_its_whole_path(place, tmp_path, cd):
    align(toy_settings(place, epochs=1), tmp_path / "run")
    cd(tmp_path)
    assert load_encoder("run").name == str(tmp_path / "run")
    assert isinstance(load_encoder("run"), CampeEncoder)
    assert isinstance(polyprompt.load("run"), CAMPE)


def test_an_adapter_opens_its_encoder_as_it_was_trained(place, tmp_path):
    """In bf16, too, unless it is said otherwise; adapters from before it was noted open in fp32."""
    clip = tmp_path / "clip.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in Case("maple_depth3").state.items()}, clip)
    settings = {"data": str(place / "photos"), "encoder": str(clip), "method": {"name": "coop", "context": 2}}
    trained = adapt(AdaptSettings(**settings, **QUICK, tower_dtype="bf16"), tmp_path / "run")
    pixels = torch.rand(2, 3, 32, 32)
    for opened in (load(tmp_path / "run"), load(tmp_path / "run", str(clip))):
        assert opened.method.encoder.dtype == torch.bfloat16
        assert torch.equal(opened.method(pixels), trained.method(pixels))
    assert load(tmp_path / "run", tower_dtype="fp32").method.encoder.dtype == torch.float32
    config = json.loads((tmp_path / "run" / "model" / "adapter_config.json").read_text())
    del config["encoder_dtype"]
    (tmp_path / "run" / "model" / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "run" / "model" / "manifest.json").unlink()
    write_manifest(tmp_path / "run" / "model")
    assert load(tmp_path / "run").method.encoder.dtype == torch.float32


@pytest.mark.parametrize("name", ["caf\udce9", "\udcff"])
def test_a_run_whose_folder_is_not_utf8(place, tmp_path, name):
    folder, pictures = tmp_path / name, [place / "photos" / "red" / "0.png"]
    model = align(toy_settings(place, epochs=1), folder / "run")
    assert torch.equal(load(folder / "run").encode_text(TEXTS), model.eval().encode_text(TEXTS))
    clip = tmp_path / "clip.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in Case("maple_depth3").state.items()}, clip)
    settings = {"data": str(place / "photos"), "encoder": str(clip), "method": {"name": "coop", "context": 2}}
    adapted = adapt(AdaptSettings(**settings, **QUICK), folder / "adapted")
    assert torch.equal(load(folder / "adapted")(pictures), adapted(pictures))
