"""Branches beside a layer."""

import torch
from torch import nn

from polyprompt.nn.branches import LowRank, beside, both


def test_a_branch_is_added_where_it_stands():
    given, result = torch.randn(3, 4), torch.randn(3, 4)
    branches = {"mlp": lambda x: 2 * x}
    assert torch.equal(beside("mlp", given, result, branches), result + 2 * given)
    assert beside("out", given, result, branches) is result


def test_of_two_changes_each_place_has_all():
    x = torch.randn(5)
    joined = both({"mlp": lambda x: 2 * x, "key": lambda x: 3 * x}, {"mlp": lambda x: 5 * x, "out": lambda x: -x})
    assert {place: (branch(x) / x).mean().round().item() for place, branch in joined.items()} == {
        "mlp": 7, "key": 3, "out": -1,
    }  # fmt: skip


def test_low_rank_is_a_product_of_two_matrices():
    lora = LowRank((4, 3), 2, torch.Generator().manual_seed(0), factor=0.5)
    x = torch.randn(2, 4)
    assert not lora(x).any()  # B starts at zero
    assert lora.A.abs().max() <= 4**-0.5
    nn.init.normal_(lora.B)
    torch.testing.assert_close(lora(x), 0.5 * torch.einsum("or,ri,bi->bo", lora.B, lora.A, x))


def test_its_input_is_dropped_while_training_alone():
    lora = LowRank((64, 3), 8, torch.Generator().manual_seed(0), dropout=0.5)
    nn.init.normal_(lora.B)
    x = torch.ones(1, 64)
    assert not torch.equal(lora(x), lora(x))
    assert torch.equal(lora.eval()(x), lora(x))
