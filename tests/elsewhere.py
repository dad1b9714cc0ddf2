"""A device that is not here: its tensors compute on the processor, and meet no other device's.

FakeTensorMode has fake CUDA tensors, but no backward for them on a machine without a GPU (autograd's engine asks for a
context of the device), and no answer to `nonzero` and `.item()`. `meta` tensors go backward, but have no numbers, and
all that is `meta` looks alike. So the tests have a device of their own: torch takes a backend that is written in Python
(PrivateUse1), and tensors that say they are there keep their numbers in a tensor of the processor.

An operation that is handed tensors of both devices is refused, as CUDA refuses it: a scalar of the processor may join,
indices may, and copies are what brings tensors over. All else is computed, so that the numbers can be compared as well.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "elsewhere"
aten = torch.ops.aten
CROSSING = {
    aten._to_copy.default,
    aten.copy_.default,
    aten.set_.source_Tensor,
    aten._has_compatible_shallow_copy_type.default,
}
INDEXED = {
    aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}  # fmt: skip
"""A tensor of a device may be indexed by tensors of the processor."""


class WrongDeviceError(Exception):
    """Tensors of two devices in one operation."""


class Elsewhere(Tensor):
    """A tensor that says it is elsewhere; `here` has its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "Elsewhere":
        made = Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype,
            layout=here.layout, device=torch.device(NAME, 0),
        )  # fmt: skip
        made.here = here
        return made

    def __init__(self, here: Tensor) -> None: ...

    def __repr__(self) -> str:
        return f"Elsewhere({self.here!r})"

    def tolist(self) -> list:
        return self.here.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


class Pretending(TorchDispatchMode):
    """What is made for that device is made there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


def computed(func: Callable, args: tuple, kwargs: dict):
    """An operation, on the processor; what comes out is where it belongs."""
    given = pytree.tree_leaves((args, kwargs))
    there = any(isinstance(one, Elsewhere) for one in given)
    wanted = kwargs.get("device")
    if there and func not in CROSSING:
        check(func, args, kwargs)
    if not there and not (wanted is not None and torch.device(wanted).type == NAME):
        return func(*args, **kwargs)
    if wanted is not None:
        there = torch.device(wanted).type == NAME
        kwargs = kwargs | {"device": torch.device("cpu")}
    if func is aten.copy_.default:
        there = isinstance(args[0], Elsewhere)
    if func is aten._fused_sdp_choice.default:
        return 0  # written out
    plain_args, plain_kwargs = pytree.tree_map_only(Elsewhere, lambda one: one.here, (args, kwargs))
    made = func(*plain_args, **plain_kwargs)
    if not there:
        return made
    made = pytree.tree_map_only(Tensor, Elsewhere, made)
    return return_and_correct_aliasing(func, args, kwargs, made)


def check(func: Callable, args: tuple, kwargs: dict) -> None:
    """Raises where tensors of both devices come in."""
    if func in INDEXED:
        args = (args[0], *args[2:])
    given = [one for one in pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    wrong = [one for one in given if not isinstance(one, Elsewhere) and one.ndim]
    if wrong:
        raise WrongDeviceError(
            f"{func}: a tensor of {list(wrong[0].shape)} is on the processor, the others are elsewhere"
        )


_libraries: list[torch.library.Library] = []
"""What torch was told holds as long as these live."""


class _Module:
    """What torch asks of a backend."""

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None: ...

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float32]


@cache
def device() -> torch.device:
    """The device; torch is told of it once. Autocast changes nothing there."""
    torch.utils.backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    _libraries.append(torch.library.Library("_", "IMPL"))
    _libraries[-1].fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    return torch.device(NAME, 0)


@contextmanager
def pretending() -> Iterator[torch.device]:
    """The device, while the block lasts."""
    with Pretending(), torch.autograd.set_multithreading_enabled(False):  # it has no threads for a device so late
        lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(..., device=...)`: made here, then brought there
        try:
            yield device()
        finally:
            torch._C._set_only_lift_cpu_tensors(lifted)
