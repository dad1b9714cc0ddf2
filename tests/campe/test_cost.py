"""The paper's figures, counts made by hand, and memory as torch's own tracker sees it."""

import pytest
import timm
import torch
import transformers as hf
from torch import nn
from toy_decoders import FAMILIES, toy_decoder

from polyprompt.campe.config import ModelSettings
from polyprompt.campe.cost import Alive, cost, open_text_config
from polyprompt.errors import ConfigError, TowerError
from polyprompt.nn.precision import choose_precision
from polyprompt.settings import checked

LLAMA = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
SMALL = {"tokens": 10, "text.prompts": 2, "dim": 12, "image.width": 64}


def counted(config, image_tower, tokens, dim, **settings):
    """What `cost` gives for settings by their dotted names."""
    values = {"dim": dim, "text": {}, "image": {"tower": image_tower}}
    for name, value in settings.items():
        side, _, key = name.rpartition(".")
        (values[side] if side else values)[key] = value
    return cost(config, checked(ModelSettings, values), tokens=tokens)


def test_the_papers_figures_for_gemma():
    settings = {"text.prompts": 6, "image.trained_blocks": "all"}
    found = counted(open_text_config("gemma-2b"), "vit_base_patch16_224", tokens=64, dim=768, **settings)
    assert found.gflops[0] == pytest.approx(144.2, rel=0.03)
    assert found.gflops[1] == pytest.approx(24.8, rel=0.03)
    assert found.gflops[2] == found.gflops[1]  # the whole ViT is trained
    # Published sizes: 2,506,172,416 parameters (Gemma report, 1,981,884,416 + 524,288,000 embeddings), ViT-B/16 85.8 M.
    maps = 768 * 2048
    assert found.text_frozen.parameters + found.text_trained.parameters - maps == 2_506_172_416


def test_the_papers_figure_for_clip():
    settings = {"text.prompts": 1, "text.last_n": 12, "image.trained_blocks": "all"}
    found = counted(open_text_config("clip-text"), "vit_base_patch16_224", tokens=64, dim=768, **settings)
    assert found.gflops[0] == pytest.approx(23.5, rel=0.03)
    assert found.gflops[0] == found.gflops[1]
    assert found.text_frozen.multiply_adds == 0
    assert found.text_cache == found.image_cache == 0


def test_a_fresh_tower_is_trained_whole():
    """GPT-2's parts by hand: words, 1,024 places, attention and an MLP of four widths with biases, norms; two maps."""
    found = counted(open_text_config("vanilla:16x2"), "test_efficientnet", **SMALL, **{"text.tower": "vanilla:16x2"})
    block = 12 * 16**2 + 13 * 16
    assert found.text_trained.parameters == 49152 * 16 + 1024 * 16 + 2 * block + 2 * 16 + 16 * 12
    assert (found.text_frozen.parameters, found.text_frozen.multiply_adds, found.text_cache) == (0, 0, 0)
    attention = 2 * 10 * 10 * 16  # scores and their sums
    assert found.text_trained.multiply_adds == 2 * (10 * 12 * 16**2 + attention) + 2 * 16 * 6


@pytest.mark.parametrize("last_n", [1, 3])
def test_updates_counted_by_hand(last_n):
    """Rank 2 beside queries and output (32 to 32) and keys and values (32 to 16) of the last blocks, ten tokens."""
    config, given = hf.LlamaConfig(**LLAMA), SMALL | {"text.last_n": last_n}
    plain = counted(config, "test_efficientnet", **given)
    found = counted(hf.LlamaConfig(**LLAMA), "test_efficientnet", **given, **{"text.lora": 2})
    update = 2 * (2 * (32 + 32) + 2 * (32 + 16))
    block = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32
    assert plain.text_trained.parameters - found.text_trained.parameters == last_n * (block - update)
    assert found.text_trained.multiply_adds - plain.text_trained.multiply_adds == last_n * update * 10
    assert (found.text_beside, plain.text_beside) == (last_n * block, 0)
    assert found.weights[2] == plain.weights[2] + 4 * last_n * update  # the same blocks lie in memory


def test_a_llama_counted_by_hand():
    found = counted(hf.LlamaConfig(**LLAMA), "test_efficientnet", **SMALL, **{"text.last_n": 2})
    tokens, width = 10, 32
    queries_and_output, keys_and_values = 2 * width * 32, 2 * width * 16
    mlp = 3 * width * 48
    attention = 2 * tokens * tokens * 32  # scores and weighted values, all heads
    block = tokens * (queries_and_output + keys_and_values + mlp) + attention
    assert found.text_frozen.multiply_adds == block
    assert found.text_trained.multiply_adds == 2 * block + 2 * width * 6
    weights = queries_and_output + keys_and_values + mlp + 2 * width
    assert found.text_trained.parameters == 2 * weights + width + 2 * width * 6
    assert found.text_frozen.parameters == weights + 100 * width
    assert found.text_cache == 2 * tokens * width


def test_an_image_side_counted_by_hand():
    found = counted(hf.LlamaConfig(**LLAMA), "test_efficientnet", **SMALL, **{"image.new_blocks": 2})
    tokens, width = 25, 64
    block = tokens * 12 * width * width + 2 * tokens * tokens * width
    pool = tokens * 2 * width * width + 2 * (2 * tokens * width) + 2 * width * 6
    assert found.image_trained.multiply_adds == tokens * 256 * width + 2 * block + pool
    assert found.image_cache == 2 * 25 * 256
    trunk = timm.create_model("test_efficientnet", num_classes=0)
    assert found.image_frozen.parameters == sum(parameter.numel() for parameter in trunk.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_and_trained_share_the_work_of_any_decoder(family):
    config = toy_decoder(family).config
    one = counted(config, "test_efficientnet", **SMALL, **{"text.last_n": 1})
    both = counted(config, "test_efficientnet", **SMALL, **{"text.depth": 2, "text.last_n": 2})
    assert one.text_frozen.multiply_adds == 2 * (one.text_trained.multiply_adds - 32 * 12)  # two blocks, and one
    assert one.text_frozen.multiply_adds > 2 * 10 * 7 * 32 * 32
    assert both.text_trained.multiply_adds == one.text_frozen.multiply_adds + 32 * 12
    assert both.text_frozen.multiply_adds == 0
    trained = one.text_trained.parameters, both.text_trained.parameters
    assert 2 * (trained[0] - 32 * 12) > trained[1] - 32 * 12 > trained[0]  # the final norm is counted once


def test_what_a_cache_saves():
    # Nothing of the text is kept for the backward pass but the maps' input; pictures still pass the trunk.
    found = counted(hf.LlamaConfig(**LLAMA), "test_efficientnet", **SMALL | {"tokens": 400, "text.last_n": 0})
    nothing, captions, both = found.memory
    assert nothing > captions > both > 0
    assert nothing >= 4 * 2 * 400 * 400 * 4  # a frozen block's attention: scores and weights of four heads
    rows = found.as_rows()
    assert [row["cache a pair (KB)"] for row in rows] == [0.0, 25.6, 38.4]
    assert [row["memory a pair (MB)"] for row in rows] == [nothing / 1e6, captions / 1e6, both / 1e6]
    needed = [row["parameters needed (M)"] for row in rows]
    assert needed[0] - needed[1] == pytest.approx(found.text_frozen.parameters / 1e6)
    assert needed[2] == rows[0]["parameters trained (M)"]


def test_memory_followed_by_hand():
    size = 4 * 1000
    x = torch.zeros(1000, requires_grad=True)
    with Alive() as alive:
        total = x.exp().sin().sum()
        # exp(x), kept for both backward steps; the sum. sin(exp(x)) was alive beside them, and has gone.
        assert (alive.now, alive.peak) == (size + 4, 2 * size + 4)
        total.backward()
        # At most exp(x), a cosine or a gradient, and one gradient in the making; the sum and its gradient.
        assert alive.peak == 3 * size + 8
        assert x.grad is not None
        assert alive.now == size + 4  # x.grad and the sum
        assert alive.take_peak() == 3 * size + 8
        assert alive.peak == alive.now


def test_memory_equals_torchs_own_tracker():
    from torch.distributed._tools.mem_tracker import MemTracker

    with torch.device("meta"):
        model = timm.create_model("vit_tiny_patch16_224", num_classes=5, depth=2)
        pixels = torch.zeros(4, 3, 224, 224)
    with Alive(model) as alive:
        model(pixels).square().sum().backward()
    model.zero_grad()
    tracker = MemTracker()
    tracker.track_external(model)
    with tracker:
        model(pixels).square().sum().backward()
    (peak,) = tracker.get_tracker_snapshot("peak").values()
    assert alive.peak == peak["Total"] - sum(parameter.nbytes for parameter in model.parameters())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"text.last_n": 4}, "trained blocks is 4; the text tower uses 3 blocks"),
        ({"text.depth": 4}, "text depth is 4; the text tower has 3 blocks"),
        ({"dim": 13}, "dim is 13, which 2 segments do not divide"),
        ({"tokens": 1}, "tokens is 1 for 2 prompts"),
        ({"text.prompts": 0}, "text.prompts is 0"),
        ({"image.trained_blocks": 1}, "test_efficientnet: trained blocks is 1"),
    ],
)
def test_bad_numbers(settings, says):
    with pytest.raises(ConfigError, match=says):
        counted(hf.LlamaConfig(**LLAMA), "test_efficientnet", **SMALL | settings)


def test_a_folders_tower_costs_what_its_name_does(tmp_path):
    model = timm.create_model("test_efficientnet", num_classes=0)
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    by_folder, by_name = (
        counted(hf.LlamaConfig(**LLAMA), tower, **SMALL) for tower in (str(tmp_path), "test_efficientnet")
    )
    assert by_folder.as_rows() == by_name.as_rows()


def test_bad_models():
    with pytest.raises(ConfigError, match=r"no image tower is called 'test_efficientnett'. Did you mean"):
        counted(hf.LlamaConfig(**LLAMA), "test_efficientnett", **SMALL)
    with pytest.raises(TowerError, match="PreTrainedConfig is not the config of a model transformers can build"):
        counted(hf.PretrainedConfig(num_hidden_layers=2, hidden_size=4), "test_efficientnet", **SMALL)
    with pytest.raises(TowerError, match="text tower 'no/such' cannot be opened"):
        open_text_config("no/such")


def test_smollm2s_config_is_the_packaged_ones():
    config = open_text_config("smollm2-135m")
    with torch.device("meta"):
        model: nn.Module = hf.AutoModel.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008  # as published


def test_weights_in_memory_in_the_dtype_that_is_chosen():
    config = hf.LlamaConfig(**LLAMA, dtype="bfloat16")
    full = counted(config, "test_efficientnet", **SMALL, **{"text.last_n": 2})
    low = counted(config, "test_efficientnet", **SMALL, **{"text.last_n": 2}, tower_dtype="bf16")
    trained = 4 * (full.text_trained.parameters + full.image_trained.parameters)
    frozen, trunk = full.text_frozen.parameters, 4 * full.image_frozen.parameters
    assert low.weights == (trained + 2 * frozen + trunk, trained + trunk, trained)
    held = 2 if choose_precision().precision == "bf16" else 4  # the checkpoint's, where this machine multiplies it well
    assert full.weights == (trained + held * frozen + trunk, trained + trunk, trained)
    rows = low.as_rows()
    assert [row["weights in memory (MB)"] for row in rows] == [part / 1e6 for part in low.weights]
