"""What other libraries raise, in one line; and what is refused of a foreign config and its weights."""

import pytest
import torch

from polyprompt.errors import DataError, TowerError
from polyprompt.towers.pretrained import (
    DEEPEST,
    PICKLED,
    check_config,
    check_scale,
    check_weights,
    check_whole,
    one_line,
    reason,
)

WITHOUT = "it has no tokenizer.json, and reading its tokenizer otherwise needs"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n\n  a   long\tstory.\nand more"), "a long story"),
        (KeyError(), "KeyError"),
        (ValueError("set trust_remote_code=True"), "it brings code of its own, which is never run here"),
        (
            ImportError("needs SentencePiece"),
            f"{WITHOUT} sentencepiece: pip install sentencepiece",
        ),
        (
            ImportError("tiktoken is missing"),
            f"{WITHOUT} tiktoken: pip install tiktoken",
        ),
    ],
)
def test_an_error_of_another_library_is_one_line(error, line):
    assert reason(error) == line
    with pytest.raises(TowerError) as told, one_line("folder", "Try this."):
        raise error
    assert str(told.value) == f"folder cannot be opened ({line}). Try this."


def test_our_own_errors_and_a_lack_of_memory_pass():
    for kind in (DataError, MemoryError):
        with pytest.raises(kind), one_line("folder"):
            raise kind("as it is")


@pytest.mark.parametrize("depth", [DEEPEST + 1, [2, 10**9], float("inf"), float("nan")])
def test_endless_towers_are_refused_wherever_a_config_has_them(depth):
    for key in ("num_hidden_layers", "depth", "n_blocks"):
        with pytest.raises(TowerError, match=rf"x: {key} is .*; at most 1,000 blocks are built"):
            check_config({"a": [{"b": {key: depth}}]}, "x")
    check_config({"num_hidden_layers": DEEPEST, "depths": [2, 2], "hidden_size": 10**9, "layers": "many"}, "x")


def test_kernels_from_elsewhere_are_refused():
    with pytest.raises(TowerError, match="_attn_implementation is 'kernels/evil', code from elsewhere"):
        check_config({"text_config": {"_attn_implementation": "kernels/evil"}}, "x")
    check_config({"attn_implementation": "sdpa", "name": "a/b"}, "x")


def test_pickles_alone_are_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(TowerError, match=PICKLED):
        check_weights(tmp_path, "x")
    (tmp_path / "model.safetensors").write_bytes(b"")
    check_weights(tmp_path, "x")
    check_weights(tmp_path / "nowhere", "x")


def test_tensors_that_lack_are_named():
    with pytest.raises(TowerError, match=r"x: its weights lack a, b, c and 2 more; have the whole file"):
        check_whole(["e", "d", "c", "b", "a"], "x")
    check_whole([], "x")


@pytest.mark.parametrize("logarithm", [[4.6, 4.6], 1000.0, -1000.0, float("nan"), float("inf")])
def test_a_factor_that_is_none_is_refused(logarithm):
    with pytest.raises(TowerError, match="x: logit_scale is"):
        check_scale(torch.tensor(logarithm), "x")
    check_scale(torch.tensor([4.6052], dtype=torch.float16), "x")
