"""Files in OpenAI's own layout."""

import pytest
import torch
from torch import nn
from toy_open_clip import CLOSE, openai_state, zoo_model

from polyprompt.adapt.adapter import entering
from polyprompt.disk.foreign import tensors_of
from polyprompt.errors import TowerError
from polyprompt.zoo.load import open_encoder
from polyprompt.zoo.openai import from_openai


class Scripted(nn.Module):
    """Modules nested as a state dict's names are, so that TorchScript saves the same names."""

    def __init__(self, state):
        super().__init__()
        inner: dict = {}
        for key, value in state.items():
            head, _, rest = key.partition(".")
            if rest:
                inner.setdefault(head, {})[rest] = value
            elif value.is_floating_point():
                self.register_parameter(head, nn.Parameter(value))
            else:
                self.register_buffer(head, value)
        for head, rest in inner.items():
            self.add_module(head, Scripted(rest))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_a_torchscript_archive_is_read_without_running_it(tmp_path):
    path, state = tmp_path / "toy.pt", openai_state()
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    torch.jit.script(Scripted(half)).save(str(path))
    read = tensors_of(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], half[key]) for key in read)
    encoder = open_encoder(str(path))
    assert encoder.image.preprocess.size == 32
    plain = tmp_path / "plain.pt"
    torch.save(half, plain)
    assert open_encoder(str(plain)).fingerprint == encoder.fingerprint


def test_openais_resnet(tmp_path):
    model = zoo_model(
        {"layers": (1, 2, 1, 1), "width": 8, "head_width": 64, "image_size": 64}, {"heads": 1, "width": 64}
    )
    state = dict(model.state_dict())
    state["text_projection"] = model.text_projection.data
    encoder = from_openai(state, "RN")
    assert "convolutional" in encoder.image.refuses(entering([torch.zeros(1, 1)]).plan)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        other = from_openai({key: value.half() for key, value in state.items()}, "RN")
        assert other.fingerprint != encoder.fingerprint
        images = encoder.encode_image(pixels, normalize=False)
        torch.testing.assert_close(images, model.encode_image(pixels), **CLOSE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("ln_final.bias"), "lacks tensor ln_final.bias"),
        (lambda s: s.update({"ln_finale.bias": torch.zeros(64)}), "unknown tensor ln_finale.bias"),
        (lambda s: s.update({"ln_final.bias": torch.zeros(3)}), r"ln_final.bias is \[3\], not \[64\]"),
        (lambda s: s.pop("text_projection"), "not a CLIP in OpenAI's layout"),
        (lambda s: s.update({"token_embedding.weight": torch.zeros(100, 64)}), "100 word vectors"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message):
    state = openai_state()
    change(state)
    with pytest.raises(TowerError, match=message):
        from_openai(state, "toy")
