"""Where a test looks on, or steps in: torch's forward passes of one kind of module."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from torch import nn
from torch.nn.modules.module import register_module_forward_hook


@contextmanager
def after_forward(kind: type[nn.Module], call: Callable) -> Iterator[None]:
    """`call(output)` after each pass of a module of that kind; what it gives, if anything, takes the output's place."""
    handle = register_module_forward_hook(
        lambda module, inputs, output: call(output) if isinstance(module, kind) else None
    )
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def stopped_in_pass(number: int, kind: type[nn.Module]) -> Iterator[None]:
    """Ctrl-C, in that pass of a module of that kind; the block has to end by it."""
    passes = itertools.count(1)

    def stop(_):
        if next(passes) == number:
            raise KeyboardInterrupt

    with after_forward(kind, stop), pytest.raises(KeyboardInterrupt):
        yield
