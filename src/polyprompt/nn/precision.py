"""What this machine multiplies fastest, found by trying for some milliseconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import torch
from torch import nn

from polyprompt.errors import UnknownNameError

Precision = Literal["fp32", "bf16"]
Choosing = Literal["auto", "fp32", "bf16"]
"""auto: `choose_precision` decides."""

WORTH_IT = 1.5
"""How much faster bf16 must multiply to be chosen: autocast's conversions, and the digits lost, have to be paid for."""


@dataclass(frozen=True)
class Choice:
    """A precision to train in, and why."""

    precision: Precision
    sentence: str
    """To be said aloud before a run."""
    fp32: float
    """GFLOP/s of matrix products in fp32."""
    bf16: float
    """GFLOP/s of matrix products in bf16."""


def choose_precision(device: str = "cpu") -> Choice:
    """bf16 where it multiplies at least 1.5 times faster than fp32, else fp32; measured once per process, in 30 ms.

    Processors without bf16 instructions emulate it and lose; the measurement finds out without a list of processors.
    """
    return _measured(device)


@cache
def _measured(device: str) -> Choice:
    size = 512 if torch.device(device).type == "cpu" else 4096
    fp32 = matmul_peak(torch.float32, device=device, sizes=(size,), seconds=0.01)
    bf16 = matmul_peak(torch.bfloat16, device=device, sizes=(size,), seconds=0.01)
    return choice(fp32, bf16)


def of_pictures(tower: nn.Module, precision: Choosing) -> Choosing:
    """The precision for an image tower: convolutions stay in fp32.

    In bf16 EfficientNet-Lite0 gives a few pictures in a hundred rows with a cosine below 0.999 to those of fp32; a ViT,
    whose only convolution cuts the patches, none.
    """
    return "fp32" if sum(isinstance(part, nn.Conv2d) for part in tower.modules()) > 1 else precision


@contextmanager
def products_in(precision: str, device: torch.device) -> Iterator[None]:
    """Matrix products in a `Choosing`; in fp32 whatever stands around decides.

    Raises:
        UnknownNameError: there is no such precision.
    """
    if precision not in get_args(Choosing):
        raise UnknownNameError("precision", precision, get_args(Choosing))
    if precision == "auto":
        precision = choose_precision(str(device)).precision
    with torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext():
        yield


def choice(fp32: float, bf16: float) -> Choice:
    """The choice for two measured speeds, in GFLOP/s."""
    times = bf16 / fp32
    speeds = f"(bf16 {bf16:,.0f} GFLOP/s, fp32 {fp32:,.0f})"
    if times >= WORTH_IT:
        sentence = f"Training in bf16: this machine multiplies {times:.1f} times faster in it {speeds}."
        return Choice("bf16", f"{sentence} Set precision to fp32 for full precision.", fp32, bf16)
    return Choice("fp32", f"Training in fp32: bf16 would be {times:.1f} times as fast here {speeds}.", fp32, bf16)


def matmul_peak(
    dtype: torch.dtype = torch.float32,
    *,
    device: str = "cpu",
    sizes: tuple[int, ...] = (512, 1024, 2048),
    seconds: float = 0.5,
) -> float:
    """The fastest that square matrix products were seen to run, in GFLOP/s (2 n^3 operations each).

    Args:
        dtype: of the matrices.
        device: where they are multiplied.
        sizes: n, each tried for an equal share of the time.
        seconds: for all sizes together; each product runs at least twice, the first time not counted.
    """
    best = 0.0
    for size in sizes:
        left = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
        times = [_seconds(left) for _ in range(2)]
        while sum(times) < seconds / len(sizes):
            times.append(_seconds(left))
        best = max(best, 2 * size**3 / min(times[1:]) / 1e9)
    return best


def _seconds(matrix: torch.Tensor) -> float:
    """Time of one product of a matrix with itself."""
    start = time.perf_counter()
    product = matrix @ matrix
    if product.is_cuda:
        torch.cuda.synchronize(product.device)
    return time.perf_counter() - start
