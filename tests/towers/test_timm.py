"""The cut-open image towers against timm's own uncut models, on tiny random ones."""

import copy
import json
import math

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from polyprompt.errors import ConfigError, TowerError, UnknownNameError
from polyprompt.towers.timm import TimmTower, fingerprint, open_image_tower, preprocess_of

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}
VITS = {
    "vit_tiny_patch16_224": TINY,
    "deit_tiny_distilled_patch16_224": TINY,  # two tokens in front
    "deit3_small_patch16_224": TINY,  # no position for the class token
    "vit_base_patch16_clip_224": TINY,  # a norm before the blocks
    "vit_small_patch14_reg4_dinov2": TINY,  # registers, layer scale
    "vit_base_patch16_siglip_224": TINY,  # no class token; pooling head
    "vit_small_patch16_rope_224": TINY,  # not timm's VisionTransformer: a row of tokens
    "test_vit4": {"img_size": 32},  # registers, gated MLP
}
GRIDS = {
    "test_efficientnet": {},
    "test_convnext": {},
    "test_mambaout": {},  # channels last
    "test_resnet": {},
    "swin_tiny_patch4_window7_224": {  # channels last
        "img_size": 64, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4,
    },
    "coat_lite_tiny": {"embed_dims": (16, 16, 16, 16), "serial_depths": (1, 1, 1, 1)},  # a class token, unsaid
    "mixer_s32_224": {},  # tokens without a class token
}  # fmt: skip


def tiny(name: str) -> nn.Module:
    torch.manual_seed(len(name))
    model = timm.create_model(name, pretrained=False, num_classes=0, **(VITS | GRIDS)[name])
    for module in model.modules():  # statistics, norms and tables that do something
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    for parameter in model.parameters():
        if parameter.ndim < 4:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def tower_of(model: nn.Module, trained_blocks=0) -> TimmTower:
    return TimmTower(copy.deepcopy(model), name="toy", fingerprint="", trained_blocks=trained_blocks)


def pixels_for(tower: TimmTower) -> torch.Tensor:
    return torch.rand(2, 3, tower.preprocess.size, tower.preprocess.size, generator=torch.Generator().manual_seed(1))


def through(tower: TimmTower, pixels: torch.Tensor) -> torch.Tensor:
    tokens = tower.trunk_tokens(pixels)
    for block in tower.blocks:
        tokens = block(tokens)
    return tower.norm(tokens)


@pytest.mark.parametrize("trained_blocks", [0, 1, 3, "all"])
@pytest.mark.parametrize("name", [name for name, sizes in VITS.items() if sizes is TINY and "rope" not in name])
def test_the_parts_of_a_vit_give_what_the_whole_gives(name, trained_blocks):
    model = tiny(name)
    tower = tower_of(model, trained_blocks)
    pixels = pixels_for(tower)
    assert len(tower.blocks) == (3 if trained_blocks == "all" else trained_blocks)
    torch.testing.assert_close(through(tower, pixels), model.forward_features(pixels), rtol=1e-5, atol=1e-5)
    assert (tower.grid, tower.prefix, tower.width) == ((4, 4), model.num_prefix_tokens, 24)


@pytest.mark.parametrize("name", ["test_vit4", "vit_small_patch16_rope_224", *GRIDS])
def test_a_trunk_gives_timms_features_in_reading_order(name):
    model = tiny(name)
    tower = tower_of(model)
    pixels = pixels_for(tower)
    expected = model.forward_features(pixels)
    found = through(tower, pixels)
    if expected.ndim == 4:  # by hand, for each place
        channels = expected.shape.index(model.num_features, 1)
        expected = expected.movedim(channels, 1)
        rows, cols = expected.shape[2:]
        assert tower.grid == (rows, cols)
        expected = torch.stack([expected[:, :, r, c] for r in range(rows) for c in range(cols)], dim=1)
    assert expected.shape[1] == tower.prefix + tower.grid[0] * tower.grid[1]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_only_what_is_trained_gets_gradients():
    model = tiny("vit_small_patch14_reg4_dinov2")
    for trained_blocks, expected in [
        (0, {"norm"}),
        (2, {"norm", "blocks"}),
        ("all", {"norm", "blocks", "trunk"}),
    ]:
        tower = tower_of(model, trained_blocks).train()
        through(tower, pixels_for(tower)).square().sum().backward()
        reached = {name for name, parameter in tower.named_parameters() if parameter.grad is not None}
        assert {name.split(".")[0] for name in reached} == expected
        assert reached == {name for name, parameter in tower.named_parameters() if parameter.requires_grad}


def test_nothing_is_left_that_would_be_trained_without_a_gradient():
    tower = tower_of(tiny("vit_base_patch16_siglip_224"), "all")  # with timm's pooling head
    through(tower, pixels_for(tower)).square().sum().backward()
    assert not [name for name, parameter in tower.named_parameters() if parameter.grad is None]


def test_frozen_batchnorm_keeps_its_statistics_in_training():
    tower = tower_of(tiny("test_efficientnet"))
    before = tower.eval().trunk_tokens(pixels_for(tower))
    tower.train()
    assert tower.training
    assert not any(module.training for module in tower.trunk.modules())
    after = tower.trunk_tokens(pixels_for(tower))
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert not after.requires_grad


@pytest.mark.parametrize(
    ("name", "trained_blocks", "says"),
    [
        ("test_efficientnet", 1, "trained blocks is 1, but this is not a plain ViT"),
        ("test_efficientnet", "all", "trained blocks is 'all', but this is not a plain ViT"),
        ("vit_tiny_patch16_224", 4, "trained blocks is 4; it has 3, so 0 to 3, or 'all'"),
        ("vit_tiny_patch16_224", -1, "trained blocks is -1"),
    ],
)
def test_impossible_numbers_of_trained_blocks(name, trained_blocks, says):
    with pytest.raises(ConfigError, match=says):
        tower_of(tiny(name), trained_blocks)


def test_models_that_keep_no_layout_are_refused():
    with pytest.raises(TowerError, match=r"crossvit_9_240: .* neither a grid nor a row of tokens \(they have a list"):
        open_image_tower("crossvit_9_240", pretrained=False)
    with pytest.raises(TowerError, match=r"pit_ti_224: its tokens \(1\) are no square grid"):
        open_image_tower("pit_ti_224", pretrained=False)


def test_pixels_of_another_size_are_refused():
    tower = tower_of(tiny("test_resnet"))
    with pytest.raises(ConfigError, match="got 64 x 64 pixels; it takes 160 x 160"):
        tower.trunk_tokens(torch.zeros(1, 3, 64, 64))


def test_a_model_made_for_another_size_than_its_config_says():
    with pytest.raises(TowerError, match=r"toy: does not take the 224 x 224 pixels that its config says"):
        tower_of(timm.create_model("coat_lite_tiny", num_classes=0, img_size=64, **GRIDS["coat_lite_tiny"]))


def test_unknown_names():
    with pytest.raises(UnknownNameError, match=r"no image tower is called 'resnet5O'. Did you mean 'resnet50"):
        open_image_tower("resnet5O")
    with pytest.raises(UnknownNameError, match=r"no image tower is called '!!'. Known: efficientnet-lite0"):
        open_image_tower("!!")
    with pytest.raises(
        UnknownNameError, match=r"set of weights for resnet50 is called 'resnet50.a1_in1'.*resnet50.a1_in1k"
    ):
        open_image_tower("resnet50.a1_in1")
    with pytest.raises(TowerError, match=r"'runs/nowhere': no such folder"):
        open_image_tower("runs/nowhere")


def test_without_a_connection_there_is_one_line(empty_hub):
    with pytest.raises(
        TowerError, match=r"timm/resnet18\.a1_in1k cannot be fetched from the Hugging Face hub"
    ) as caught:
        open_image_tower("resnet18")
    assert "\n" not in str(caught.value)


@pytest.fixture
def saved(tmp_path):
    """A folder as timm's `save_for_hf` writes it."""
    from timm.models import save_for_hf

    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, **TINY)
    save_for_hf(model, str(tmp_path), safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_args"] = TINY
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path, model.eval()


def test_a_local_folder(saved):
    folder, model = saved
    tower = open_image_tower(str(folder), trained_blocks=1)
    pixels = pixels_for(tower)
    assert tower.preprocess.size == 32
    torch.testing.assert_close(through(tower, pixels), model.forward_features(pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "cannot be opened"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be opened"),
        (lambda folder: (folder / "config.json").write_text("{}"), "cannot be opened"),
        (lambda folder: save_file({"a": torch.zeros(1)}, folder / "model.safetensors"), "cannot be opened"),
    ],
    ids=["no weights", "no config", "damaged weights", "damaged config", "empty config", "other weights"],
)
def test_a_damaged_local_folder_gives_one_line(saved, harm, says):
    harm(saved[0])
    with pytest.raises(TowerError, match=says) as caught:
        open_image_tower(str(saved[0]))
    assert "\n" not in str(caught.value)


def test_the_fingerprint_follows_every_number_and_the_architecture():
    model = tiny("test_efficientnet")
    first = fingerprint(model)
    assert fingerprint(copy.deepcopy(model)) == first
    changed = copy.deepcopy(model)
    next(iter(changed.buffers())).view(-1)[0] += 1e-3
    assert fingerprint(changed) != first
    reshaped = copy.deepcopy(model)
    weight = next(iter(reshaped.parameters()))
    weight.data = weight.data.flatten()  # the same bytes
    assert fingerprint(reshaped) != first
    heads = [timm.create_model("vit_tiny_patch16_224", **TINY | {"num_heads": h}) for h in (2, 4)]
    heads[1].load_state_dict(heads[0].state_dict())  # the same tensors, another function
    assert fingerprint(heads[0]) != fingerprint(heads[1])


def test_preprocessing_comes_from_timms_notes():
    found = preprocess_of(timm.create_model("vit_tiny_patch16_224", num_classes=0), "")
    assert (found.size, found.mean, found.std) == (224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (found.interpolation, found.resize, found.crop) == ("bicubic", "short", 0.9)
    with torch.device("meta"):
        squashing = timm.create_model("vit_base_patch16_clip_384.laion2b_ft_in1k", num_classes=0)
    found = preprocess_of(squashing, "")
    assert (found.size, found.resize, found.crop) == (384, "squash", 1.0)
    with torch.device("meta"):
        framing = timm.create_model("volo_d5_512", num_classes=0)
    assert preprocess_of(framing, "").crop == 1.15


@pytest.mark.parametrize(
    ("notes", "says"),
    [
        ({"crop_mode": "border"}, "crop_mode is 'border', which is not read here; center or squash"),
        ({"crop_mode": "centre"}, "crop_mode is 'centre'"),
        ({"crop_mode": ["squash"]}, r"crop_mode is \['squash'\]"),
        ({"interpolation": "random"}, "interpolation is 'random', which is not read here; nearest, bilinear"),
        ({"crop_pct": 2}, r"crop_pct is 2, which is not read here; above 0, at most 1\.15"),
        ({"crop_pct": -0.9}, r"crop_pct is -0\.9"),
        ({"crop_pct": "0.9"}, r"crop_pct is '0\.9'"),
        ({"mean": [0.5]}, r"mean is \[0\.5\], which is not read here; three numbers, for red, green, blue"),
        ({"mean": ["0.5"] * 3}, "mean is"),
        ({"std": [0.5, 0, 0.5]}, "std is .*; three numbers above 0"),
        ({"std": [0.5, math.nan, 0.5]}, "std is"),
    ],
    ids=str,
)
def test_notes_on_pictures_that_are_not_followed_are_refused_by_name(saved, notes, says):
    folder, _ = saved
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= notes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TowerError, match=says) as caught:
        open_image_tower(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [32, [3, 32.0, 32.0], [32, 32], "3x32x32"], ids=str)
def test_a_size_that_is_none_is_refused(size):
    model = tiny("test_efficientnet")
    model.pretrained_cfg = {**model.pretrained_cfg, "input_size": size}
    with pytest.raises(TowerError, match=r"image tower toy: input_size is .*three whole numbers"):
        preprocess_of(model, "toy")


@pytest.mark.slow
def test_the_packaged_tower_sees_what_timm_sees():
    from safetensors.torch import load_file

    from polyprompt.disk.packaged import efficientnet_lite0

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(load_file(efficientnet_lite0()), strict=False)  # num_batches_tracked may be missing
    tower = open_image_tower("efficientnet-lite0")
    assert (tower.grid, tower.width, tower.prefix) == ((7, 7), 1280, 0)
    pixels = pixels_for(tower)
    expected = model.eval().forward_features(pixels).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tower.trunk_tokens(pixels), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.1
