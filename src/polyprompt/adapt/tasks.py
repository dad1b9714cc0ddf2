"""Several tasks that one adapter learns together, each over classes of its own (MmAP)."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace

import torch

from polyprompt.adapt.adapter import Names
from polyprompt.adapt.engine import Adapted, MethodConfig
from polyprompt.adapt.terms import TermConfig, combined
from polyprompt.errors import ConfigError
from polyprompt.towers.base import DualEncoder
from polyprompt.values import Foreign


def takes_tasks(config: MethodConfig | type[MethodConfig]) -> bool:
    """Whether a method learns several tasks together: its settings then have `tasks`, classes by task, and `task`."""
    return is_dataclass(config) and {"tasks", "task"} <= {field.name for field in fields(config)}


def build_tasks(
    config: MethodConfig,
    encoder: DualEncoder,
    class_names: Mapping[str, Names],
    *,
    seed: int = 0,
    extra: Sequence[TermConfig] = (),
    keep: bool = False,
    twins: Names = (),
) -> dict[str, Adapted]:
    """An untrained method for each task over its own classes, on one adapter; the rest as `build` in adapt/engine.py.

    Args:
        config: its `tasks` become `class_names`.
        class_names: by task.

    Raises:
        ConfigError: the method learns one task at a time; and as `build`. DataError: as `build`.
    """
    if not takes_tasks(config):
        raise ConfigError(f"{type(config).__module__.rpartition('.')[2]} learns one task at a time, not several")
    untyped: Foreign = config
    named = {task: tuple(names) for task, names in class_names.items()}
    adapter = replace(untyped, tasks=named, task=next(iter(named))).build(
        encoder, (), torch.Generator().manual_seed(seed)
    )
    adapted = {}
    for task, names in named.items():
        at_work = adapter.for_task(task)
        terms = combined(at_work.terms(), [one.build(at_work) for one in extra])
        adapted[task] = Adapted(encoder, at_work, names, config=at_work.config, terms=terms, keep=keep, twins=twins)
    return adapted
