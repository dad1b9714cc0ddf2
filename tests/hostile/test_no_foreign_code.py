"""Code that comes with a model or a data set is never run: not by other libraries on our behalf, not by our own."""

import ast
import importlib
import io
import json
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import save_file
from timm.models import save_for_hf
from toy_decoders import toy_decoder
from toy_encoders import toy_encoder

from polyprompt.adapt.engine import build
from polyprompt.disk.files import write_manifest
from polyprompt.errors import ConfigError, FileError, TowerError
from polyprompt.methods import config_of
from polyprompt.runs.saved import load_adapter, save
from polyprompt.towers.llm import open_llm
from polyprompt.towers.timm import open_image_tower
from polyprompt.zoo.load import open_encoder

SOURCE = Path(__file__).parents[2] / "src" / "polyprompt"
EVIL = "import pathlib\npathlib.Path(__file__).with_name('RAN').write_text('')\nclass T: pass\nclass Config: pass\n"


def test_every_call_into_another_librarys_auto_class_says_so():
    """`from_pretrained` and `from_config` of transformers' Auto classes ask on stdin where nothing is said."""
    missing = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            if node.func.attr in ("from_pretrained", "from_config") and called.startswith("Auto"):
                facts = {word.arg: ast.unparse(word.value) for word in node.keywords}
                if facts.get("trust_remote_code") != "False":
                    missing.append(f"{path.relative_to(SOURCE)}:{node.lineno} {called}")
    assert not missing


def spoil(folder, file, **values):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(autouse=True)
def answers_yes(monkeypatch):
    """Somebody who says yes to everything that is asked."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 99))
    yield
    assert sys.stdin.tell() == 0


@pytest.fixture
def clip(tmp_path, toy_tokenizer):
    """A transformers CLIP with code beside it."""
    torch.manual_seed(0)
    both = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 0}
    text = both | ids | {"vocab_size": 260, "max_position_embeddings": 77}
    image = both | {"image_size": 32, "patch_size": 8}
    folder = tmp_path / "clip"
    hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=image, projection_dim=16)).save_pretrained(folder)
    toy_tokenizer.save_pretrained(folder)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    (folder / "evil.py").write_text(EVIL)
    return folder


BOTH = dict.fromkeys(("AutoConfig", "AutoModel", "AutoImageProcessor", "AutoProcessor"), "evil.T")
MAPS = BOTH | {"AutoTokenizer": ["evil.T", "evil.T"]}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_code_beside_a_clip_of_transformers(clip, file, known):
    """With a class that transformers has, too, that one is taken; else it is refused."""
    kinds = {"config.json": "model_type", "tokenizer_config.json": "tokenizer_class"}
    unknown = {} if known else {kinds.get(file, "image_processor_type"): "T"}
    spoil(clip, file, auto_map=MAPS, **unknown)
    if known or file == "tokenizer_config.json":  # tokenizer.json says all, whatever the class is called
        open_encoder(str(clip))
    else:
        with pytest.raises(TowerError) as error:
            open_encoder(str(clip))
        assert "\n" not in str(error.value)
        assert "trust_remote_code" not in str(error.value)
    assert not (clip / "RAN").exists()


@pytest.mark.parametrize("where", ["", "text_config", "vision_config"])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_kernels_from_a_hub_are_refused(clip, where, key):
    config = json.loads((clip / "config.json").read_text())
    (config[where] if where else config)[key] = "evil/kernel"
    (clip / "config.json").write_text(json.dumps(config))
    if where:  # transformers passes over what a part says
        open_encoder(str(clip))
    else:
        with pytest.raises(TowerError, match="code from elsewhere, which is never run"):
            open_encoder(str(clip))


def test_pickled_weights_are_refused_and_not_opened(clip):
    (clip / "model.safetensors").unlink()
    (clip / "pytorch_model.bin").write_bytes(b"cbuiltins\nexec\n(Vraise SystemExit\ntR.")
    with pytest.raises(TowerError, match="pickled, and no pickle is loaded"):
        open_encoder(str(clip))


def test_a_tower_without_end_is_refused_at_once(clip):
    config = json.loads((clip / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 10**9
    (clip / "config.json").write_text(json.dumps(config))
    with pytest.raises(TowerError, match="num_hidden_layers is 1000000000; at most 1,000 blocks"):
        open_encoder(str(clip))


@pytest.fixture
def open_clips(tmp_path):
    """open_clip's own folder, with code beside it."""
    folder = tmp_path / "open_clip"
    folder.mkdir()
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8, "head_width": 32}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    model = open_clip.model.CLIP(16, vision, text)
    save_file({name: t.contiguous().clone() for name, t in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}, "tokenizer_class": "T"})
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": MAPS}))
    (folder / "evil.py").write_text(EVIL)
    return folder


@pytest.mark.parametrize(
    "more",
    [
        {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}},
        {"hf_tokenizer_name": "x"},
        {"tokenizer_kwargs": {"trust_remote_code": True}},
        {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"config": {}, "code_revision": "x"}},
        {"hf_model_name": "."},
        {"hf_model_name": ".", "hf_model_pretrained": True, "tokenizer_kwargs": {"trust_remote_code": True}},
        {"layers": 10**9},
    ],
)
def test_code_beside_a_clip_of_open_clip(open_clips, cd, more):
    path = open_clips / "open_clip_config.json"
    config = json.loads(path.read_text())
    open_encoder(str(open_clips))
    config["model_cfg"]["text_cfg"] |= more
    path.write_text(json.dumps(config))
    cd(open_clips)
    for name in (str(open_clips), f"local-dir:{open_clips}"):
        with pytest.raises(TowerError) as error:
            open_encoder(name)
        assert "\n" not in str(error.value)
    assert not (open_clips / "RAN").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_beside_a_language_model(tmp_path, toy_tokenizer, file):
    toy_decoder("llama").save_pretrained(tmp_path)
    toy_tokenizer.save_pretrained(tmp_path)
    (tmp_path / "evil.py").write_text(EVIL)
    spoil(tmp_path, file, auto_map=MAPS, **({"model_type": "evil"} if file == "config.json" else {}))
    try:
        open_llm(str(tmp_path))
    except TowerError as error:
        assert "\n" not in str(error)  # noqa: PT017  (some are opened with transformers' own class)
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("more", [{"depth": 10**9}, {"depths": [10**9] * 4}, {"layers": [10**8] * 4}])
def test_a_timm_model_without_end(tmp_path, more):
    save_for_hf(timm.create_model("test_vit"), tmp_path, safe_serialization=True)
    spoil(tmp_path, "config.json", model_args=more)
    with pytest.raises(TowerError, match="at most 1,000 blocks"):
        open_image_tower(str(tmp_path))


@pytest.fixture
def adapter(tmp_path):
    """A saved adapter whose file names a module beside it."""
    encoder = toy_encoder("clip")
    save(build(config_of("coop")(context=2), encoder, ["cat", "dog"]), tmp_path / "model")
    spoil(tmp_path / "model", "adapter_config.json", method="evilpkg.mod")
    write_manifest(tmp_path / "model")
    (tmp_path / "evilpkg").mkdir()
    (tmp_path / "evilpkg" / "mod.py").write_text(EVIL + "from polyprompt.methods.coop import Config\n")
    return tmp_path / "model", encoder


def test_a_saved_adapter_does_not_name_what_is_imported(adapter, import_from):
    folder, encoder = adapter
    import_from(folder.parent)
    with pytest.raises(ConfigError, match=r"names the method 'evilpkg\.mod', .*POLYPROMPT_METHODS=evilpkg\.mod"):
        load_adapter(folder, encoder)
    assert "evilpkg" not in sys.modules


@pytest.mark.outside("import")
@pytest.mark.parametrize("key", ["method", "base_model_name_or_path", "encoder_fingerprint"])
@pytest.mark.parametrize("value", [5, None, [], {}], ids=repr)
def test_what_is_no_text_in_the_place_of_one(adapter, key, value):
    folder, encoder = adapter
    spoil(folder, "adapter_config.json", **{"method": "coop", key: value})
    write_manifest(folder)
    with pytest.raises(FileError, match="stands in the place of a text"):
        load_adapter(folder, encoder)


@pytest.mark.outside("import")
def test_a_caller_may_name_it(adapter, import_from, environ):
    folder, encoder = adapter
    import_from(folder.parent)
    environ(POLYPROMPT_METHODS="evilpkg.mod")
    assert type(load_adapter(folder, encoder).config).__name__ == "Config"
    for name in [name for name in sys.modules if name.startswith("evilpkg")]:
        del sys.modules[name]


@pytest.mark.outside("import", "pickle", "socket", "process")
def test_the_net_catches_what_it_is_for(outside, tmp_path, import_from):
    (tmp_path / "fromdata.py").write_text("")
    import_from(tmp_path)
    importlib.import_module("fromdata")
    pickle.loads(pickle.dumps(Path("x")))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
    subprocess.run([sys.executable, "-c", ""], check=True)
    message = " ".join(outside.events)
    assert all(word in message for word in ("fromdata.py", "pickle.find_class", "socket.bind", "subprocess.Popen"))
