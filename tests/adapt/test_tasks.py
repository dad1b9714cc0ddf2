"""Several tasks on one adapter; tests/methods/test_mmap.py trains them."""

import pytest
import torch
from toy_encoders import toy_encoder, toy_images

from polyprompt.adapt.tasks import build_tasks, takes_tasks
from polyprompt.adapt.terms import kgcoop
from polyprompt.errors import ConfigError
from polyprompt.methods import config_of, coop, mmap, names

TASKS = {"photo": ["cat", "dog", "otter"], "sketch": ["cat", "dog"]}


def test_each_task_has_its_classes_and_all_share_what_is_learned(encoder):
    made = build_tasks(mmap.Config(depth=1, words="a"), encoder, TASKS, seed=3, extra=[kgcoop.Config(weight=1.0)])
    assert {task: list(one.class_names) for task, one in made.items()} == TASKS
    first, second = made.values()
    shared = {name for name in first.learned() if name.startswith("shared")}
    assert shared
    assert all(first.learned()[name] is second.learned()[name] for name in shared)
    assert first(toy_images()).shape == (6, 3)
    for task, one in made.items():
        assert one.config.task == task
        losses = one.losses(one.see(toy_images()), torch.zeros(6, dtype=torch.long))
        assert set(losses) == {"loss", "cross_entropy", "knowledge"}


def test_methods_for_one_task_say_so():
    assert [name for name in names() if takes_tasks(config_of(name))] == ["mmap"]
    with pytest.raises(ConfigError, match="coop learns one task at a time, not several"):
        build_tasks(coop.Config(), toy_encoder("clip"), TASKS)
