"""Parts of adapters: cosines against a slow loop, rows for blocks, classes that something was learned for."""

import math

import pytest
import torch
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.adapter import Adapter, Closed, check_class_vectors, class_logits, entering, places_among
from polyprompt.adapt.engine import build
from polyprompt.errors import ConfigError, DataError
from polyprompt.methods import zeroshot


@pytest.mark.parametrize(("b", "c", "d"), [(1, 1, 1), (3, 2, 5), (4, 7, 2)])
def test_class_logits_equals_the_slow_loop(b, c, d):
    draw = torch.Generator().manual_seed(b * 100 + c * 10 + d)
    images = torch.randn(b, d, generator=draw, dtype=torch.float64)
    classes = torch.randn(c, d, generator=draw, dtype=torch.float64)
    slow = torch.empty(b, c, dtype=torch.float64)
    for i in range(b):
        for j in range(c):
            dot = sum(float(images[i, k] * classes[j, k]) for k in range(d))
            slow[i, j] = 100 * dot / (math.hypot(*images[i].tolist()) * math.hypot(*classes[j].tolist()))
    torch.testing.assert_close(class_logits(images, classes, torch.tensor(100.0, dtype=torch.float64)), slow)


def test_sets_of_rows_enter_blocks_one_after_the_other():
    layers = [torch.randn(2, 4) for _ in range(3)]
    first = entering(layers)
    assert first.input.rows is layers[0]
    assert {block: one.rows for block, one in first.prompts.items()} == {1: layers[1], 2: layers[2]}
    late = entering(layers[:2], start=3)
    assert (late.input, late.start) == (None, 3)
    assert {block: one.rows for block, one in late.prompts.items()} == {3: layers[0], 4: layers[1]}


class PerClass(Closed):
    """A row for each class."""

    of_classes, nothing = ("shares",), "nothing was learned for"

    def __init__(self, names):
        super().__init__(names)
        self.register_buffer("shares", torch.arange(len(names))[:, None].float())


def test_a_closed_adapter_takes_its_classes_in_any_order_and_no_others():
    adapter = PerClass(NAMES)
    assert adapter.for_names(NAMES) is adapter
    other = adapter.for_names(NAMES[::-1][:2])
    assert other.shares.flatten().tolist() == [3, 2]
    assert adapter.shares.flatten().tolist() == [0, 1, 2, 3]
    assert adapter.numbers() == {"shares": 4}
    with pytest.raises(DataError, match=r"nothing was learned for class 'fox'; it knows cat, tabby_cat, dog, big dog"):
        adapter.for_names(["cat", "fox"])
    with pytest.raises(DataError, match="test_adapter: class 'dog' has no training picture"):
        adapter.check_seen(torch.tensor([0, 1, 3, 3]))
    adapter.check_seen(torch.arange(4))
    assert places_among(NAMES, ["dog", "cat"], "x") == [2, 0]


def test_the_base_does_nothing():
    """It is zero-shot with one sentence a class."""
    encoder = toy_encoder("clip")
    method = build(zeroshot.Config(), encoder, NAMES)
    adapter, view = Adapter(), method.see(toy_images())
    assert adapter.rows(encoder.text, NAMES) == method.adapter.rows(encoder.text, NAMES)
    assert adapter.text_change(view).start is adapter.image_change(view).start is None
    assert (adapter.numbers(), adapter.tasks, adapter.for_names(["x"])) == ({}, {}, adapter)
    with pytest.raises(ConfigError, match="adapter was trained for one task, and has none called 'x'"):
        adapter.for_task("x")
    check_class_vectors("kgcoop", adapter)
    adapter.names_classes = False
    with pytest.raises(
        ConfigError, match=r"terms: kgcoop compares class vectors, and polyprompt\.adapt\.adapter has no class vectors"
    ):
        check_class_vectors("kgcoop", adapter)
