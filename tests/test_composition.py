"""Any term on any method, any method on any encoder: it learns, or one line says why it cannot."""

import pytest
import torch
from test_contract import SMALL, labels, pictures, trainable
from toy_encoders import FAMILIES, NAMES, toy_encoder

from polyprompt import methods
from polyprompt.adapt import terms
from polyprompt.adapt.engine import build
from polyprompt.errors import ConfigError

TERMS = {
    "class_weighted": {"weights": {"cat": 2.0}},
    "coprompt": {"descriptions": {"{}": ("one {}.",)}},
    "focal": {},
    "kgcoop": {},
    "prograd": {},
    "promptsrc": {"templates": ("a {}.",), "mean": 2.0, "std": 2.0},
}
REFUSED = {
    ("mmrl", "focal"): "is part of a loss of its own",
    ("mmrl", "class_weighted"): "is part of a loss of its own",
    ("defo", "coprompt"): "has no class vectors",
    ("defo", "kgcoop"): "has no class vectors",
    ("defo", "promptsrc"): "has no class vectors",
}
"""What cannot be, and what the error says."""


def test_every_term_is_here():
    assert set(TERMS) == set(terms.names())


def learns(method) -> None:
    """A finite loss whose gradient reaches all that learns."""
    for parameter in method.learned().values():
        parameter.data += 0.01
    view, target = method.see(pictures(method)), labels()
    first = method.losses(view, target)["loss"]
    assert torch.isfinite(first)
    if method.learned():
        first.backward()
    for name, parameter in method.learned().items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.numel() == 1 or parameter.grad.any(), name  # a prompt's length alone is lost in a norm


@pytest.mark.parametrize(("name", "term"), REFUSED)
def test_what_cannot_be_is_said_in_one_line(name, term):
    with pytest.raises(ConfigError, match=REFUSED[name, term]) as error:
        with_term(name, term, "clip")
    assert "\n" not in str(error.value)


def with_term(name: str, term: str, family: str):
    config = methods.config_of(name)(**SMALL[name])
    extra = [terms.config_of(term)(**TERMS[term])]
    return trainable(build(config, toy_encoder(family), NAMES, seed=1, extra=extra))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("name", SMALL)
def test_any_term_goes_with_any_method(name, term, family):
    if (name, term) not in REFUSED:
        learns(with_term(name, term, family))


CONVOLUTIONAL = (
    "zeroshot", "clip_adapter", "cocoop", "coop", "defo", "kgcoop", "language", "linear_probe", "nearest_mean",
    "prograd", "lamm", "taskres", "tcp", "tip_adapter", "vdt_adapter",
)  # fmt: skip
"""Methods that leave the image tower as it is."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_convolutional_image_tower_takes_it_or_says_why_not(name):
    def built():
        return trainable(build(methods.config_of(name)(**SMALL[name]), toy_encoder("resnet"), NAMES))

    if name in CONVOLUTIONAL:
        learns(built())
    else:
        with pytest.raises(ConfigError, match="is convolutional and has no tokens") as error:
            built()
        assert "\n" not in str(error.value)
