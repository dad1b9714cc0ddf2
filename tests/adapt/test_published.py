"""Epochs and steps of a published record, by shots."""

import pytest

from polyprompt.adapt.published import NEAREST, Published
from polyprompt.methods import config_of, names


@pytest.mark.parametrize(("shots", "epochs"), [(1, 50), (2, 100), (4, 100), (5, 200), (16, 200), (None, 200)])
def test_with_few_pictures_fewer_epochs(shots, epochs):
    """CoOp's: 50 with one picture a class, 100 up to four, else 200; all there are count as many."""
    record = Published(config=None, rate=0.002, epochs=200, batch=32, fewer=((1, 50), (4, 100)))
    assert record.epochs_for(shots) == epochs
    assert record.steps_for(shots) is None


@pytest.mark.parametrize(("shots", "steps"), [(1, 500), (4, 2000), (None, 8000)])
def test_steps_are_counted_by_the_picture(shots, steps):
    """CLIP-LoRA's: 500 for each picture of a class."""
    record = Published(config=None, rate=2e-4, epochs=None, batch=32, steps_a_shot=500)
    assert record.steps_for(shots) == steps
    assert record.epochs_for(shots) is None


def test_every_protocol_has_its_own_record_first_and_then_the_others():
    for protocol, order in NEAREST.items():
        assert order[0] == protocol
        assert set(order) == set(NEAREST)


def test_the_packaged_records_are_of_their_methods_configs():
    import importlib

    for name in names():
        records = getattr(importlib.import_module(f"polyprompt.methods.{name}"), "PUBLISHED", {})
        for protocol, record in records.items():
            assert isinstance(record.config, config_of(name)), (name, protocol)
            assert (record.epochs is None) != (record.steps_a_shot is None), (name, protocol)
