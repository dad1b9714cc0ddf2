"""Checkpoints made to harm: nothing in them is called, none takes more than it has, each is one line."""

import pytest
import torch
from golden_cases import Case, names

from polyprompt.errors import PolypromptError, TowerError
from polyprompt.zoo.load import open_encoder
from polyprompt.zoo.openai import SIZES, from_openai


@pytest.fixture(scope="module")
def state():
    found = next(Case(name) for name in sorted(names()) if Case(name).facts["trainer"] == "MaPLe").state
    return {name: tensor for name, tensor in found.items() if name not in SIZES}


def test_a_clip_without_one_of_its_tensors_is_one_line(state):
    assert from_openai(state, "x").text.width > 0
    for name in state:
        with pytest.raises(TowerError) as error:
            from_openai({key: value for key, value in state.items() if key != name}, "x")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "shape", [(), (3,), (1, 1), (2, 3, 4), (0,), (0, 0), (1, 1, 1, 1), (1, 2**16), (2**16, 1)], ids=str
)
def test_a_tensor_of_another_shape_is_one_line(state, shape):
    """At once, too: a thin tensor of 65,536 rows would otherwise have a square made beside it, of 17 GB."""
    for name, value in state.items():
        if value.shape == shape or (value.numel() == 1 and shape in ((), (1, 1), (1, 1, 1, 1))):
            continue
        with pytest.raises(TowerError) as error:
            from_openai(state | {name: torch.zeros(shape, dtype=torch.float16)}, "x")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"PK", b"{}", b"\x80\x02.", b"cos\nsystem\n(S'x'\ntR.", b"PK\x05\x06" * 50])
@pytest.mark.parametrize("ending", [".pt", ".bin", ".safetensors", ".pth"])
def test_what_is_no_file_of_torch(tmp_path, data, ending):
    path = tmp_path / f"x{ending}"
    path.write_bytes(data)
    with pytest.raises(PolypromptError) as error:
        open_encoder(str(path))
    assert "\n" not in str(error.value)
