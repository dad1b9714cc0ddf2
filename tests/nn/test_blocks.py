import pytest
import torch
from torch import nn

from polyprompt.errors import ConfigError
from polyprompt.nn.blocks import NewBlock


@pytest.mark.parametrize(("batch", "tokens", "width", "heads", "ratio"), [(1, 1, 4, 1, 4), (2, 5, 12, 3, 2)])
def test_equals_torchs_own_encoder_layer(batch, tokens, width, heads, ratio):
    torch.manual_seed(width)
    block = NewBlock(width, heads, mlp_ratio=ratio).double()
    torchs = nn.TransformerEncoderLayer(
        width, heads, ratio * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    renamed = {
        "self_attn.in_proj_": "qkv.",
        "self_attn.out_proj.": "proj.",
        "linear1.": "mlp.0.",
        "linear2.": "mlp.2.",
    }
    ours = block.state_dict()
    state = {}
    for name in torchs.state_dict():
        source = name
        for theirs, mine in renamed.items():
            source = source.replace(theirs, mine)
        state[name] = ours.pop(source)
    assert not ours
    torchs.load_state_dict(state)

    x = torch.randn(batch, tokens, width, dtype=torch.float64)
    torch.testing.assert_close(block(x), torchs(x))


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match="heads is 5; it must divide the width 12"):
        NewBlock(12, 5)
