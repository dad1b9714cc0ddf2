"""Rows come back from their bytes, as near as their format allows."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from polyprompt.disk.numbers import decode, encode, row_bytes


@given(st.integers(1, 5), st.integers(1, 70), st.integers(0, 9))
def test_encoded_rows_come_back(rows, width, seed):
    draw = torch.Generator().manual_seed(seed)
    numbers = torch.randn(rows, width, generator=draw) * 10 ** torch.randn(rows, width, generator=draw)
    numbers = numbers.clamp(-6e4, 6e4)  # the largest that fp16 holds is 65,504
    for dtype, tolerance in (("fp32", 0), ("fp16", 2**-11), ("bf16", 2**-8), ("int8", 1 / 100)):
        data = encode(numbers, dtype).view(torch.uint8).numpy()
        assert data.shape == (rows, row_bytes(width, dtype))
        found = decode(data, width, dtype)
        limit = numbers.abs() if dtype != "int8" else numbers.abs().amax()
        assert ((found - numbers).abs() <= tolerance * limit + 1e-6).all()


def test_bytes_stay_what_they_are():
    data = torch.arange(256)[:, None]
    assert torch.equal(decode(encode(data, "bytes").numpy(), 1, "bytes"), data.float())
    assert row_bytes(1, "bytes") == 1
