"""Code that comes with a model or a data set is never run: not by other libraries on our behalf, not by our own."""

import ast
import asyncio
import importlib
import inspect
import io
import json
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from harmful import (
    MAPS,
    OPEN_CLIP_TEXTS,
    adapter_folder,
    clip_folder,
    decoder_folder,
    open_clip_folder,
    put_text,
    spoil,
)
from timm.models import save_for_hf

from polyprompt.disk.files import write_manifest
from polyprompt.errors import ConfigError, FileError, TowerError
from polyprompt.runs.saved import load_adapter
from polyprompt.towers.llm import open_llm
from polyprompt.towers.timm import open_image_tower
from polyprompt.zoo.load import open_encoder

SOURCE = Path(__file__).parents[2] / "src" / "polyprompt"


LIBRARIES = ("transformers", "diffusers", "timm", "open_clip", "sentence_transformers", "datasets", "peft")
"""Those that run code from elsewhere, or have run it, where they are told to."""


def named_by_imports(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: {"hf": "transformers", "AutoModel": "transformers.AutoModel"}."""
    places = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                places[alias.asname or name] = name
        elif isinstance(node, ast.ImportFrom) and node.module:
            places |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return places


def takes_it(place: str) -> bool:
    """Whether a function or class of a library has the parameter `trust_remote_code`."""
    library, *names = place.split(".")
    found = importlib.import_module(library)
    for number, name in enumerate(names):
        if not hasattr(found, name):
            try:
                importlib.import_module(".".join([library, *names[: number + 1]]))
            except ImportError:
                return False  # a variable that is called like the library
        found = getattr(found, name)
    try:
        return "trust_remote_code" in inspect.signature(found).parameters
    except (TypeError, ValueError):
        return False


def silent_calls(source: str) -> list[str]:
    """Calls that would leave it to a library, or to what is read, whether foreign code may run: each `from_pretrained`
    and `from_config` that is not our own, and all else in `LIBRARIES` that has the parameter."""
    tree = ast.parse(source)
    places, silent = named_by_imports(tree), []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        first, dot, rest = called.partition(".")
        place = f"{places.get(first, '?')}{dot}{rest}"
        opens = place.endswith((".from_pretrained", ".from_config")) and not place.startswith("polyprompt.")
        told = {word.arg: ast.unparse(word.value) for word in node.keywords}.get("trust_remote_code") == "False"
        of_library = place.partition(".")[0] in LIBRARIES and "(" not in place  # what a call gives has methods alone
        if not told and (opens or (of_library and takes_it(place))):
            silent.append(f"{node.lineno} {called}")
    return silent


def test_every_call_into_another_library_that_could_run_code_says_no():
    """Where nothing is said, transformers asks on stdin."""
    silent = {str(path.relative_to(SOURCE)): silent_calls(path.read_text()) for path in SOURCE.rglob("*.py")}
    assert not {path: calls for path, calls in silent.items() if calls}


@pytest.mark.parametrize(
    "source",
    [
        "from transformers import AutoModel\nAutoModel.from_pretrained('x')",
        "from transformers import AutoModel\nAutoModel.from_config({}, trust_remote_code=True)",
        "from transformers import CLIPModel as C\nC.from_pretrained('x')",
        "import transformers as hf\nhf.AutoTokenizer.from_pretrained('x')",
        "import transformers as hf\ngetattr(hf, kind).from_pretrained('x')",
        "kind.from_pretrained('x')",
        "from transformers import pipeline\npipeline('x')",
        "from sentence_transformers import SentenceTransformer\nSentenceTransformer('x')",
        "import sentence_transformers\nsentence_transformers.CrossEncoder('x', trust_remote_code=yes)",
        "from diffusers import DiffusionPipeline\nDiffusionPipeline.from_pretrained('x')",
    ],
)
def test_a_call_that_does_not_say_so_is_found(source):
    assert [call.partition(" ")[0] for call in silent_calls(source)] == [str(len(source.splitlines()))]


def test_calls_that_say_so_and_our_own_are_not():
    assert not silent_calls(
        "from transformers import AutoModel, pipeline\nfrom polyprompt.campe.model import CAMPE\nimport timm\n"
        "AutoModel.from_pretrained('x', trust_remote_code=False)\npipeline('x', trust_remote_code=False)\n"
        "CAMPE.from_pretrained('x')\ntimm.create_model('x')\nprint('x')"
    )


@pytest.fixture(autouse=True)
def answers_yes(monkeypatch):
    """Somebody who says yes to everything that is asked."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 99))
    yield
    assert sys.stdin.tell() == 0


@pytest.fixture
def clip(tmp_path):
    return clip_folder(tmp_path / "clip")


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


@pytest.mark.parametrize("more", OPEN_CLIP_TEXTS)
def test_code_beside_a_clip_of_open_clip(tmp_path, cd, more):
    folder = open_clip_folder(tmp_path / "open_clip")
    open_encoder(str(folder))
    put_text(folder, more)
    cd(folder)
    for name in (str(folder), f"local-dir:{folder}"):
        with pytest.raises(TowerError) as error:
            open_encoder(name)
        assert "\n" not in str(error.value)
    assert not (folder / "RAN").exists()


PICKLE = b"cbuiltins\nexec\n(Vraise SystemExit\ntR."


@pytest.fixture
def never_unpickled(monkeypatch):
    """Whoever asks torch for a pickle fails, however careful it is told to be."""
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load"))


@pytest.mark.usefixtures("never_unpickled")
def test_a_pickle_that_open_clip_prefers_is_refused(tmp_path):
    folder = open_clip_folder(tmp_path / "open_clip")
    (folder / "open_clip_model.safetensors").rename(folder / "model.safetensors")
    (folder / "open_clip_pytorch_model.bin").write_bytes(PICKLE)
    for name in (str(folder), f"local-dir:{folder}"):
        with pytest.raises(TowerError, match=r"open_clip_pytorch_model\.bin is no safetensors file, and no pickle"):
            open_encoder(name)


@pytest.mark.usefixtures("never_unpickled")
@pytest.mark.parametrize(
    ("name", "repository", "file"),
    [
        ("hf-hub:a/b", "a/b", "open_clip_pytorch_model.bin"),
        ("ViT-B-16/openai", "timm/vit_base_patch16_clip_224.openai", "open_clip_pytorch_model.bin"),
        ("ViTamin-S/datacomp1b", "jienengchen/ViTamin-S", "pytorch_model.bin"),
    ],
)
def test_a_pickle_of_the_hub_is_refused(tmp_path, empty_hub, name, repository, file):
    place = empty_hub / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    folder = open_clip_folder(tmp_path / "open_clip")
    (folder / "open_clip_model.safetensors").unlink()
    (folder / file).write_bytes(PICKLE)
    (place / "snapshots").mkdir()
    folder.rename(place / "snapshots" / ("0" * 40))
    with pytest.raises(
        TowerError, match=rf"{file} is no safetensors file, and no pickle is loaded; convert it"
    ) as error:
        open_encoder(name)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("never_unpickled")
def test_a_timm_tower_whose_weights_are_pickled(tmp_path, monkeypatch):
    save_for_hf(timm.create_model("test_vit"), tmp_path, safe_serialization=True)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(TowerError, match="its weights are pickled, and no pickle is loaded"):
        open_image_tower(str(tmp_path))
    other = timm.models.get_pretrained_cfg("test_vit")
    monkeypatch.setattr(other, "hf_hub_filename", "best.pth")
    monkeypatch.setattr("timm.models.get_pretrained_cfg", lambda _: other)
    with pytest.raises(TowerError, match=r"best\.pth of .*its weights are pickled"):
        open_image_tower("test_vit")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_beside_a_language_model(tmp_path, file):
    decoder_folder(tmp_path)
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
    return adapter_folder(tmp_path)


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


@pytest.mark.outside("socket")
def test_a_socket_is_caught_before_it_is_bound_but_not_the_pair_of_an_event_loop(outside):
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
    asyncio.run(asyncio.sleep(0))
    assert [event.split()[0] for event in outside.events] == ["socket.__new__"]


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
