"""What is no number is found wherever it stands, in every dtype that files of weights have."""

import math

import pytest
import torch

from polyprompt.errors import FileError
from polyprompt.nn.finite import check_finite

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 2, 2)])
def test_each_place(dtype, value, shape):
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    check_finite({"a": whole}, "file")
    for place in range(whole.numel()):
        tensor = whole.clone()
        tensor.view(-1)[place] = value
        with pytest.raises(FileError, match=f"^file: b has 1 of {whole.numel()} numbers that are NaN or infinite"):
            check_finite({"a": whole, "b": tensor, "c": tensor}, "file")


def test_eight_bits_and_parts_of_a_tensor():
    eight = torch.tensor([1.0, math.nan, 2.0]).to(torch.float8_e4m3fn)
    check_finite({"a": eight[::2]}, "file")
    with pytest.raises(FileError, match="a has 1 of 3"):
        check_finite({"a": eight}, "file")


def test_what_has_no_numbers_to_look_at():
    largest = torch.finfo(torch.float16).max
    large, parameter = torch.tensor([largest, -largest]).half(), torch.nn.Parameter(torch.ones(2))
    check_finite({"none": torch.empty(0, 3), "whole": torch.arange(3), "large": large, "parameter": parameter}, "file")
