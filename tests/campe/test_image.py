import pytest
import timm
import torch
from torch import nn

from polyprompt.campe.image import ImageSide, heads_for
from polyprompt.errors import ConfigError, TowerError
from polyprompt.towers.base import Change, Rows
from polyprompt.towers.timm import TimmTower

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}


def side_of(name: str, trained_blocks=0, **settings) -> ImageSide:
    torch.manual_seed(0)
    sizes = TINY if name.startswith("vit") else {}
    model = timm.create_model(name, pretrained=False, num_classes=0, **sizes)
    tower = TimmTower(model, name=name, fingerprint="", trained_blocks=trained_blocks)
    side = ImageSide(tower, **{"queries": 3, "dim": 12, "width": 24} | settings)
    for parameter in side.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return side.eval()


def pixels_for(side: ImageSide) -> torch.Tensor:
    size = side.tower.preprocess.size
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_a_vit_is_its_own_features_pooled():
    side = side_of("vit_small_patch14_reg4_dinov2", trained_blocks=2)
    whole = timm.create_model("vit_small_patch14_reg4_dinov2", pretrained=False, num_classes=0, **TINY).eval()
    state = {name: value for name, value in side.tower.trunk.state_dict().items() if not name.startswith("blocks.")}
    state |= {f"blocks.0.{name}": value for name, value in side.tower.trunk.blocks[0].state_dict().items()}
    for i, block in enumerate(side.tower.blocks):
        state |= {f"blocks.{i + 1}.{name}": value for name, value in block.state_dict().items()}
    state |= {f"norm.{name}": value for name, value in side.norm.state_dict().items()}
    whole.load_state_dict(state)

    pixels = pixels_for(side)
    expected = side.pool(whole.forward_features(pixels)[:, whole.num_prefix_tokens :])
    torch.testing.assert_close(side(pixels), expected)
    torch.testing.assert_close(side.segments(side.frozen_tokens(pixels)), expected)
    segments, attention = expected
    assert segments.shape == (2, 3, 4)
    assert attention.shape == (2, 3, 16)
    assert side.grid == (4, 4)


def test_a_grid_gets_positions_new_blocks_and_a_pool():
    side = side_of("test_efficientnet", new_blocks=2)
    tokens = side.frozen_tokens(pixels_for(side))
    assert tokens.shape == (2, 25, 256)
    states = torch.stack([side.entrance(side.tokens_norm(tokens[:, i])) + side.positions[i] for i in range(25)], dim=1)
    for block in side.new_blocks:
        states = block(states)
    torch.testing.assert_close(side.segments(tokens), side.pool(side.norm(states)))
    assert len(side.blocks) == 2


def test_places_matter_on_a_grid():
    side = side_of("test_efficientnet")
    tokens = side.frozen_tokens(pixels_for(side))
    turned, _ = side.segments(tokens.flip(1))
    assert (turned - side.segments(tokens)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "test_efficientnet"])
def test_prompts_equal_a_loop_over_pictures(name, layers, start):
    side = side_of(name, **({"trained_blocks": 3} if name.startswith("vit") else {"new_blocks": 3}))
    tokens = side.frozen_tokens(pixels_for(side))
    vectors = torch.randn(layers, 2, side.width, generator=torch.Generator().manual_seed(2))

    change = Change(prompts={start + i: Rows(layer) for i, layer in enumerate(vectors)})
    segments, attention = side.read(side.run(side.enter(tokens), 0, len(side.blocks), change))

    for i, picture in enumerate(tokens):
        row = side.entrance(side.tokens_norm(picture)) + side.positions if side.new_blocks else picture
        own = len(row)
        for depth, block in enumerate(side.blocks):
            if start <= depth < start + layers:
                row = torch.cat([row[:own], vectors[depth - start]])
            row = block(row[None])[0]
        row = side.norm(row[own - side.cells : own])
        expected, expected_attention = side.pool(row[None])
        torch.testing.assert_close(segments[i], expected[0])
        torch.testing.assert_close(attention[i], expected_attention[0])
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3))
    assert (segments - side.segments(tokens)[0]).abs().max() > 1e-3


def test_every_layer_of_prompts_gets_a_gradient():
    side = side_of("vit_tiny_patch16_224", trained_blocks=3).requires_grad_(False)
    layers = tuple(nn.Parameter(torch.randn(2, side.width)) for _ in range(3))
    change = Change(prompts={i: Rows(layer) for i, layer in enumerate(layers)})
    segments, _ = side.read(side.run(side.enter(side.frozen_tokens(pixels_for(side))), 0, 3, change))
    segments.square().sum().backward()
    assert all(layer.grad is not None and layer.grad.abs().max() > 0 for layer in layers)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("test_efficientnet", {}),
        ("test_efficientnet", {"new_blocks": 0}),
        ("vit_tiny_patch16_224", {}),  # frozen as a whole: a new block
        ("vit_tiny_patch16_224", {"new_blocks": 0}),
        ("vit_tiny_patch16_224", {"trained_blocks": 2}),
        ("vit_tiny_patch16_224", {"trained_blocks": "all"}),
    ],
)
def test_all_that_is_trained_gets_a_gradient_and_nothing_else(name, settings):
    side = side_of(name, **settings).train()
    segments, _ = side(pixels_for(side))
    segments.square().sum().backward()
    for key, parameter in side.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
    trunk = any(parameter.requires_grad for parameter in side.tower.trunk.parameters())
    assert trunk == (settings.get("trained_blocks") == "all")


def test_a_state_dict_names_no_tensor_twice():
    for side in (side_of("vit_tiny_patch16_224", trained_blocks=1), side_of("test_efficientnet")):
        places = [tensor.data_ptr() for tensor in side.state_dict().values()]
        assert len(places) == len(set(places))


def test_bad_settings():
    with pytest.raises(ConfigError, match="dim is 13, which 3 segments do not divide"):
        side_of("test_efficientnet", dim=13)
    with pytest.raises(ConfigError, match="new blocks is 1, with 2 trained blocks of vit_tiny_patch16_224's own"):
        side_of("vit_tiny_patch16_224", trained_blocks=2, new_blocks=1)
    side = side_of("vit_tiny_patch16_224", trained_blocks="all")
    with pytest.raises(TowerError, match="all of it is trained, so nothing can be cached"):
        side.frozen_tokens(pixels_for(side))


def test_heads_are_as_wide_as_in_vits():
    assert [heads_for(width) for width in (24, 64, 192, 384, 768, 1000, 1024)] == [1, 1, 3, 6, 12, 10, 16]
