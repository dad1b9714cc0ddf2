"""CLIPs whose blocks are held in bf16, or lie mapped in their files: the same encoder, in half of the memory."""

import json
import re
import sys

import pytest
import torch
from toy_encoders import NAMES
from toy_huggingface import clip_folder, huggingface_model
from transformers import AutoModel

from polyprompt import methods
from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import build
from polyprompt.adapt.frozen import ImageStates
from polyprompt.data.items import Picture
from polyprompt.disk.foreign import tensors_of
from polyprompt.errors import ConfigError, TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.skins.onnx import export_onnx
from polyprompt.towers.clip import CLIP
from polyprompt.towers.opaque import OpaqueImage
from polyprompt.towers.transformer import Block
from polyprompt.zoo.huggingface import from_huggingface
from polyprompt.zoo.load import open_encoder
from polyprompt.zoo.openai import from_openai

SENTENCES = ["a photo of a cat.", "two dogs play"]
PIXELS = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["lies in fp32", "lies in bf16"])
def folder(request, tmp_path_factory):
    """A CLIP as the hub has it, in shards of a few tensors, and the dtype of its tensors."""
    path = tmp_path_factory.mktemp("clip")
    clip_folder(path)
    huggingface_model("clip").to(request.param).save_pretrained(path, max_shard_size="20KB")
    (path / "model.safetensors").unlink()
    assert len(set(json.loads((path / "model.safetensors.index.json").read_text())["weight_map"].values())) > 5
    return path, request.param


def vectors(encoder) -> torch.Tensor:
    return torch.cat([encoder.encode_image(PIXELS), encoder.encode_text(SENTENCES)])


def dtypes(encoder) -> tuple[set[torch.dtype], set[torch.dtype]]:
    """Of the blocks' matrices, and of all else."""
    blocks = [part for part in encoder.modules() if isinstance(part, Block)]
    held = {id(p) for block in blocks for p in block.parameters() if p.ndim > 1}
    both = [(p.dtype, id(p) in held) for p in (*encoder.parameters(), *encoder.buffers())]
    return {dtype for dtype, is_held in both if is_held}, {dtype for dtype, is_held in both if not is_held}


def test_a_mapped_folder_is_the_one_read_whole(folder):
    path, _ = folder
    mapped = open_encoder(str(path))
    model = AutoModel.from_pretrained(path, dtype=torch.float32)
    whole = from_huggingface(model, mapped.text.tokenizer, mapped.image.preprocess, "whole")
    assert mapped.fingerprint == whole.fingerprint
    assert torch.equal(vectors(mapped), vectors(whole))
    assert dtypes(mapped) == ({torch.float32}, {torch.float32})


def enter(inside: torch.autocast) -> None:
    inside.__enter__()


def leave(inside: torch.autocast) -> None:
    inside.__exit__(None, None, None)


def test_as_it_lies_is_bf16_where_it_lies_in_bf16(folder):
    path, lies_in = folder
    found = open_encoder(str(path), None)
    assert found.dtype == lies_in
    assert dtypes(found) == ({lies_in}, {torch.float32})


def test_bf16_gives_what_autocast_makes_of_fp32_blocks(folder):
    path, _ = folder
    low, full = open_encoder(str(path), torch.bfloat16), open_encoder(str(path))
    assert dtypes(low) == ({torch.bfloat16}, {torch.float32})
    assert low.fingerprint == full.fingerprint
    exact, found = vectors(full), vectors(low)
    inside = torch.autocast("cpu", torch.bfloat16)
    for block in [part for part in full.modules() if isinstance(part, Block)]:
        block.register_forward_pre_hook(lambda *_: enter(inside))
        block.register_forward_hook(lambda *_: leave(inside))
    assert torch.equal(vectors(full), found)
    assert not torch.equal(found, exact)
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(found, exact, dim=-1).min() > 0.999


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is mapped")
def test_matrices_stay_in_their_file(folder):
    path, lies_in = folder
    encoder = open_encoder(str(path), None)
    with open("/proc/self/maps") as maps:
        ours = [line.split()[0] for line in maps if str(path) in line]
    ranges = [tuple(int(end, 16) for end in re.split("-", one)) for one in ours]
    for tower in (encoder.image, encoder.text):
        for block in tower.transformer.resblocks:
            for weight in (block.mlp.c_fc.weight, block.mlp.c_proj.weight, block.attn.out_proj.weight):
                assert any(low <= weight.data_ptr() < high for low, high in ranges)
    again = open_encoder(str(path), torch.float32 if lies_in == torch.bfloat16 else torch.bfloat16)
    pointer = again.text.transformer.resblocks[0].mlp.c_fc.weight.data_ptr()
    assert not any(low <= pointer < high for low, high in ranges)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("maple", {"depth": 2, "words": "a photo"}), ("clip_lora", {}), ("mma", {"start": 1, "end": 3})],
)
def test_methods_learn_on_blocks_in_bf16(folder, name, settings):
    path, _ = folder
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        method = build(methods.config_of(name)(**settings), open_encoder(str(path), dtype), NAMES, seed=1).eval()
        draw = torch.Generator().manual_seed(0)
        for parameter in method.learned().values():  # away from a start where gradients vanish
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw)
        loss = method.losses(method.see(PIXELS), torch.tensor([0, 1, 2]))["loss"]
        parts = torch.autograd.grad(loss, list(method.learned().values()))
        assert all(part.dtype == torch.float32 for part in parts)
        found[dtype] = loss.detach(), torch.cat([part.flatten() for part in parts])
    (loss, gradient), (low_loss, low) = found.values()
    torch.testing.assert_close(low_loss, loss, atol=0.3, rtol=0.1)
    assert torch.cosine_similarity(gradient, low, dim=0) > 0.9


def test_what_is_kept_of_pictures_goes_by_the_dtype(folder, cache):
    path, _ = folder
    from PIL import Image

    file = cache.parent / "red.png"
    Image.new("RGB", (32, 32), "red").save(file)
    states = [
        ImageStates(open_encoder(str(path), dtype), [Picture("red", file.read_bytes)], None, cap_gb=1.0).read([0])
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert not torch.equal(*states)


def test_openais_files(tmp_path):
    encoder = open_encoder_of(tmp_path)
    full, low, as_it_lies = (open_encoder(encoder, dtype) for dtype in (torch.float32, torch.bfloat16, None))
    assert full.fingerprint == low.fingerprint
    assert dtypes(low)[0] == {torch.bfloat16}
    assert dtypes(as_it_lies) == ({torch.float32}, {torch.float32})  # fp16 in the file, which a processor is slow with
    assert torch.cosine_similarity(vectors(full), vectors(low), dim=-1).min() > 0.999


def open_encoder_of(folder) -> str:
    """A CLIP in OpenAI's layout, in half precision as theirs are."""
    import open_clip

    vision, text = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}, {"width": 64, "heads": 1, "layers": 2}
    torch.manual_seed(0)
    model = open_clip.CLIP(32, vision, text, quick_gelu=True)
    torch.save({key: value.half() for key, value in model.state_dict().items()}, folder / "clip.pt")
    return str(folder / "clip.pt")


def test_open_clips_models(tmp_path):
    import open_clip
    from open_clip.tokenizer import SimpleTokenizer

    from polyprompt.zoo.open_clip import from_open_clip

    state = tensors_of(open_encoder_of(tmp_path))
    vision, text = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}, {"width": 64, "heads": 1, "layers": 2}
    model = open_clip.CLIP(32, vision, text, quick_gelu=True)
    model.load_state_dict(state)
    model.visual.preprocess_cfg = {
        "size": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "shortest",
    }  # fmt: skip
    full = from_open_clip(model, SimpleTokenizer(), "toy")
    low = from_open_clip(model, SimpleTokenizer(), "toy", torch.bfloat16)
    assert full.dtype == torch.float32
    assert dtypes(low) == ({torch.bfloat16}, {torch.float32})
    assert full.fingerprint == low.fingerprint
    assert torch.cosine_similarity(vectors(full), vectors(low), dim=-1).min() > 0.999


def test_towers_without_blocks_are_refused(tmp_path):
    encoder = from_openai(tensors_of(open_encoder_of(tmp_path)), "toy")
    closed = OpaqueImage(torch.nn.Flatten(), Preprocess(32, (0.5,) * 3, (0.5,) * 3), "closed")
    with pytest.raises(TowerError, match="neither tower is a plain transformer") as error:
        CLIP(closed, closed, encoder.logit_scale, "closed", torch.bfloat16)
    assert "\n" not in str(error.value)


def test_an_onnx_file_is_not_made_of_bf16(folder, tmp_path):
    path, _ = folder
    method = build(methods.config_of("zeroshot")(), open_encoder(str(path), torch.bfloat16), NAMES)
    with pytest.raises(ConfigError, match="held in bf16") as error:
        export_onnx(Classifier(method), tmp_path / "toy.onnx")
    assert "\n" not in str(error.value)
