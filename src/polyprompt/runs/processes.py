"""The processes of one run (`accelerate launch`, torchrun), asked in one place: which this is, where it computes."""

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env

from polyprompt.errors import FileError

T = TypeVar("T")


def processes() -> PartialState:
    """This run's processes. (Accelerate sees several on a CPU only if it is told that there is nothing else.)"""
    alone = "LOCAL_RANK" in os.environ and not torch.accelerator.is_available()
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or alone)


def is_main_process() -> bool:
    """Whether this is the one that writes and speaks."""
    return processes().is_main_process


def device() -> torch.device:
    """Where this process computes."""
    return cast(torch.device, processes().device)


def on_main_process(act: Callable[[], T]) -> T:
    """What `act` gives in the main process, in all processes of a run; its FileError too."""
    if processes().num_processes == 1:
        return act()
    outcome: list[Any] = [None, None]
    if is_main_process():
        try:
            outcome[0] = act()
        except FileError as error:
            outcome[1] = str(error)
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise FileError(outcome[1])
    return outcome[0]
