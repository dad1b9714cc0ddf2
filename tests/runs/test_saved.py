"""An adapter on disk: the same to the last bit, and what is refused of a folder that is another."""

import json

import pytest
import torch
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.disk.files import write_manifest
from polyprompt.errors import ConfigError, FileError, UnknownNameError
from polyprompt.methods import coop, maple
from polyprompt.runs.saved import CONFIG, TENSORS, config_from, load_adapter, save, term_from


@pytest.fixture
def saved(tmp_path):
    """A method that has learned something, and its folder."""
    method = build(maple.Config(depth=2, words="a photo"), toy_encoder("clip"), NAMES)
    for parameter in method.learned().values():
        parameter.data += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    save(method, tmp_path / "saved")
    return method, tmp_path / "saved"


def change(folder, **values):
    content = json.loads((folder / CONFIG).read_text()) | values
    (folder / CONFIG).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    write_manifest(folder)


def test_it_comes_back_to_the_last_bit(saved):
    method, folder = saved
    back = load_adapter(folder, toy_encoder("clip"))
    assert torch.equal(back(toy_images()), method(toy_images()))
    assert (back.config, back.class_names) == (method.config, method.class_names)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000  # none of the encoder
    with pytest.raises(FileError, match="exists already"):
        save(method, folder)


def test_the_encoder_is_opened_by_its_name(saved):
    method, folder = saved
    asked = []

    def opened(name, dtype):
        asked.append((name, dtype))
        return toy_encoder("clip")

    assert torch.equal(load_adapter(folder, open_encoder=opened)(toy_images()), method(toy_images()))
    assert asked == [("toy-clip", "fp32")]
    with pytest.raises(FileError, match="was trained on toy-clip; give that encoder"):
        load_adapter(folder)
    with pytest.raises(FileError, match="was trained on toy-clip with other weights or settings than toy-clip has"):
        load_adapter(folder, toy_encoder("clip", seed=1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "LORA"}, "not an adapter of polyprompt"),
        ({"method": None}, "lacks method"),
        ({"encoder_fingerprint": None}, "lacks encoder_fingerprint"),
        ({"method": ["maple"]}, r"damaged, \['maple'\] stands in the place of a text"),
        ({"class_names": [1, 2, 3, 4]}, r"damaged, \[1, 2, 3, 4\] stands in the place of names of classes"),
        ({"class_names": 5}, "damaged, 5 stands in the place of names"),
        ({"twins": 5}, "damaged, 5 stands in the place of names"),
        ({"settings": [1]}, r"damaged, \[1\] stands in the place of settings"),
        ({"settings": {"depth": 2, "context": 3, "words": "a photo"}}, r"is \[2, 32\], not \[3, 32\]"),
        ({"settings": {"depth": 1, "words": "a photo"}}, "has unknown "),
        ({"settings": {"depth": 3, "words": "a photo"}}, "lacks "),
    ],
)
def test_a_folder_that_is_another_is_one_line(saved, values, message):
    _, folder = saved
    change(folder, **values)
    with pytest.raises(FileError, match=message) as error:
        load_adapter(folder, toy_encoder("clip"))
    assert "\n" not in str(error.value)


def test_damage_is_seen(saved):
    _, folder = saved
    data = bytearray((folder / TENSORS).read_bytes())
    data[-1] ^= 1
    (folder / TENSORS).write_bytes(data)
    with pytest.raises(FileError, match=TENSORS):
        load_adapter(folder, toy_encoder("clip"))


def test_configs_come_from_plain_json():
    assert config_from("coop", {"context": 3}) == coop.Config(context=3)
    assert term_from("kgcoop", {"weight": 2.0}).weight == 2.0
    with pytest.raises(UnknownNameError, match="Did you mean 'coop'"):
        config_from("cop", {})
    with pytest.raises(ConfigError, match="no setting is called 'contxt'"):
        config_from("coop", {"contxt": 3})
    with pytest.raises(UnknownNameError, match="kgcoop"):
        term_from("kgcop", {})


@pytest.mark.parametrize("names", [[CONFIG], [TENSORS]])
def test_a_manifest_that_does_not_name_both_files_is_refused(saved, names):
    _, folder = saved
    write_manifest(folder, names)
    with pytest.raises(FileError, match=r"manifest\.json: damaged, it does not name adapter_") as error:
        load_adapter(folder, toy_encoder("clip"))
    assert "\n" not in str(error.value)
