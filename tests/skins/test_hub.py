"""Models go to a stand-in of the hub (toy_hub.py) and come back through huggingface_hub's own client."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from golden_cases import Case
from PIL import Image
from safetensors.torch import save_file
from toy_hub import TOKEN, commit, toy_hub

import polyprompt as pp
from polyprompt.adapt.engine import build
from polyprompt.disk.files import check_manifest, read_json, write_json, write_manifest
from polyprompt.disk.hub import fetched
from polyprompt.errors import ConfigError, FileError
from polyprompt.methods import coop, maple
from polyprompt.runs.saved import save
from polyprompt.skins.hub import from_pretrained, lay_out, push_to_hub

FIGURES = {"accuracy": 0.75, "macro_f1": 0.7, "auc": None, "calibration_error": 0.1, "pictures": 4}
RESULTS = {
    "config": {"data": "/home/somebody/pets", "protocol": "few-shot", "shots": 4, "seed": 1, "epochs": 2},
    "classification": {"test": FIGURES},
    "zero_shot": {"test": FIGURES | {"accuracy": 0.5}},
    "versions": {"torch": "2.14.1"},
    "machine": "two cores",
    "date": "2026-11-26",
    "seconds": 12.3,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A CLIP in a file, and a run of adapt on it."""
    place = tmp_path_factory.mktemp("hub")
    save_file(
        {name: tensor.contiguous() for name, tensor in Case("maple_depth3").state.items()}, place / "clip.safetensors"
    )
    encoder = pp.load_encoder(str(place / "clip.safetensors"))
    save(build(maple.Config(depth=2, words=""), encoder, ["cat", "dog"], seed=1), place / "run" / "model")
    write_json(place / "run" / "results.json", RESULTS)
    save(build(coop.Config(context=2), encoder, ["cat", "dog"]), place / "bare")
    return place


def test_what_is_sent_is_whole_and_says_no_local_path(place, tmp_path):
    lay_out(place / "run", "me/pets", tmp_path / "sent", "apache-2.0")
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert check_manifest(tmp_path / "sent").keys() == names
    assert read_json(tmp_path / "sent" / "adapter_config.json")["base_model_name_or_path"] == "clip.safetensors"
    card = (tmp_path / "sent" / "README.md").read_text()
    assert str(place) not in card
    assert "somebody" not in card
    again = pp.load(tmp_path / "sent", str(place / "clip.safetensors"))
    assert again.class_names == ("cat", "dog")


def test_a_run_of_align_is_laid_out_too(aligned, tmp_path):
    lay_out(aligned / "run", "me/photos", tmp_path / "sent")
    settings = read_json(tmp_path / "sent" / "config.json")["settings"]
    assert (settings["text"]["tower"], settings["image"]["tower"]) == ("llm", "cnn")
    with pytest.raises(ConfigError, match="on the hub already"):
        push_to_hub("hf:me/photos", "me/photos")


def test_a_model_with_an_odd_manifest(place, tmp_path):
    """One that does not name the tensors is not sent; what lies deeper is sent as it is."""
    shutil.copytree(place / "bare", tmp_path / "model")
    write_manifest(tmp_path / "model", ["adapter_config.json"])
    with pytest.raises(FileError, match=r"does not name adapter_model\.safetensors"):
        lay_out(tmp_path / "model", "me/pets", tmp_path / "sent")
    (tmp_path / "model" / "deep").mkdir()
    (tmp_path / "model" / "deep" / "notes.json").write_text("{}")
    write_manifest(tmp_path / "model")
    lay_out(tmp_path / "model", "me/pets", tmp_path / "sent")
    assert "deep/notes.json" in check_manifest(tmp_path / "sent")


def test_without_a_network_it_says_so_in_one_line():
    with pytest.raises(FileError, match=r"hf:me/nothing: HF_HUB_OFFLINE is set; and this machine has no") as error:
        pp.load("hf:me/nothing")
    assert "\n" not in str(error.value)
    with pytest.raises(FileError, match=r"hf:\.\./\.\./etc: the hub says: "):
        fetched("hf:../../etc")
    with pytest.raises(FileError, match="hf:me/pets: HF_HUB_OFFLINE is set"):
        from_pretrained("me/pets")


# Through huggingface_hub's client, in processes of their own: where the hub is, is read when it is imported


@pytest.fixture(scope="module")
def hub():
    with toy_hub() as hub:
        yield hub


@pytest.fixture
def ask(hub, tmp_path):
    """Runs polyprompt with the stand-in as its hub: exit code, output, errors."""

    def ask(*words, **environment):
        facts = {
            "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN,
            "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        command = (
            [sys.executable, *map(str, words)]
            if words[0] == "-c"
            else [sys.executable, "-m", "polyprompt", *map(str, words)]
        )
        done = subprocess.run(
            command, env=os.environ | facts | environment, capture_output=True, text=True, timeout=200
        )
        return done.returncode, done.stdout, done.stderr

    return ask


@pytest.mark.slow
@pytest.mark.outside("process", "socket")
@pytest.mark.timeout(900)
def test_a_model_goes_there_and_comes_back(place, hub, ask, tmp_path):
    code, out, err = ask("push", place / "run", "me/pets", "--license", "apache-2.0")
    assert (code, out) == (0, f"{hub.address}/me/pets/commit/{commit('me/pets', 1)}\n"), err
    assert set(hub.repositories["me/pets"][-1]) == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json",
    }  # fmt: skip

    hub.repositories["me/pets"][-1]["pytorch_model.bin"] = b"a pickle"  # not fetched
    hub.repositories["me/pets"][-1]["modeling.py"] = b"raise SystemExit('code of the hub was run')"
    hub.served.clear()
    clip = place / "clip.safetensors"
    picture = tmp_path / "picture.png"
    Image.new("RGB", (32, 32), "red").save(picture)
    opened = f"pp.from_pretrained('me/pets', encoder={str(clip)!r})"
    script = f"import json, polyprompt as pp; print(json.dumps({opened}([{str(picture)!r}]).tolist()))"
    code, out, err = ask("-c", script)
    assert code == 0, err
    assert json.loads(out) == pp.load(place / "run")([picture]).tolist()
    assert sorted(hub.served) == ["README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json"]

    code, out, err = ask("predict", "hf:me/pets", picture, "--encoder", clip, HF_HUB_OFFLINE="1")  # from the cache
    assert code == 0, err
    assert "cat" in out

    code, _, err = ask("push", place / "bare", "me/pets")
    assert code == 0, err
    assert "pytorch_model.bin" in hub.repositories["me/pets"][-1]  # not ours to take away
    assert b'"coop"' in hub.repositories["me/pets"][-1]["adapter_config.json"]
    code, out, err = ask("predict", f"hf:me/pets@{commit('me/pets', 1)}", picture, "--encoder", clip, "--json")
    assert code == 0, err
    assert list(json.loads(out)["probabilities"].values()) == pytest.approx(
        pp.load(place / "run")([picture])[0].tolist()
    )


TRY = """
import json, sys
import polyprompt as pp
from polyprompt.errors import PolypromptError
for call in json.loads(sys.argv[1]):
    try:
        getattr(pp, call.pop("name"))(*call.pop("words"), **call)
    except PolypromptError as error:
        print(str(error).replace("\\n", "<newline>"))
    else:
        print("nothing was raised")
"""


@pytest.mark.slow
@pytest.mark.outside("process", "socket")
@pytest.mark.timeout(900)
def test_what_is_wrong_there_is_one_line(place, hub, ask, tmp_path):
    lay_out(place / "bare", "me/whole", tmp_path / "whole")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "model.bin").write_bytes(b"a pickle")
    write_manifest(tmp_path / "pickled")
    pickled = {path.name: path.read_bytes() for path in (tmp_path / "pickled").iterdir()}
    hub.private.add("me/secret")
    hub.repositories |= {
        "me/secret": [whole],
        "me/damaged": [whole | {"adapter_model.safetensors": b"other bytes"}],
        "me/other": [{"config.json": b"{}", "pytorch_model.bin": b"a pickle"}],
        "me/pickled": [pickled],
    }
    hub.served.clear()
    bare = [str(place / "bare")]
    tried = {
        "Repository Not Found": {"name": "from_pretrained", "words": ["me/secret"], "token": "hf_wrong"},
        "Revision Not Found": {"name": "from_pretrained", "words": ["me/secret"], "revision": "v9", "token": TOKEN},
        "no model of polyprompt is there": {"name": "load", "words": ["hf:me/other"]},
        "adapter_model.safetensors: damaged or changed": {"name": "load", "words": ["hf:me/damaged"]},
        "no saved model here": {"name": "load", "words": ["hf:me/pickled"]},
        "401": {"name": "push_to_hub", "words": [*bare, "me/new"], "token": "hf_wrong"},
        "the hub says: Repo id must": {"name": "push_to_hub", "words": [*bare, "not a name"]},
    }
    code, out, err = ask("-c", TRY, json.dumps(list(tried.values())))
    assert code == 0, err
    lines = out.splitlines()
    assert len(lines) == len(tried)
    assert "<newline>" not in out
    assert [why for why, line in zip(tried, lines, strict=True) if why not in line] == [], out
    assert not any(name.endswith(".bin") for name in hub.served)
