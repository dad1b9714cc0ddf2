"""Memory that is used again instead of being fetched from the system anew, page by page.

glibc's malloc gives every block above 32 MiB back to the system as soon as it is free. The next one is mapped anew and
filled with zeros by the kernel, and big activations come and go many times in a step: half of the time of encoding 256
pictures went there (docs/speed.md). A program may change that for good, a library may not change its host's process
without being asked; so

- `keep_memory` is for programs: polyprompt's own commands and benchmarks call it at their start, and so may yours;
- `kept_memory` is for the library: the training loop and the calls that encode many pictures hold memory for as long as
  they run, and hand the choice back at their end.

A program also asks torch for whole pages, large ones where the kernel has them. Else glibc 2.36 gives each block some
bytes in front and behind to align it, small objects settle there, and a block that was freed is not large enough any
more for the next of its own size: a step of CLIP-LoRA took half as much again.

Where malloc is not glibc's, and where the user has set it by MALLOC_..._ or GLIBC_TUNABLES, both do nothing.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""mallopt's names (malloc.h)."""

KEEP = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1}
"""No block is mapped on its own, and free memory stays."""
USUAL = {M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20}
"""Where glibc's own adjustment ends as soon as a block of 32 MiB has been freed."""

WHOLE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""torch's own name (c10/core/impl/alloc_cpu.h); it looks at its first tensor, and in each process anew."""

_lock = threading.Lock()
_holders = 0


def keep_memory() -> bool:
    """Memory once used stays with this process until its end; whether malloc could be told so."""
    global _holders
    os.environ.setdefault(WHOLE_PAGES, "1")
    with _lock:
        _holders += 1  # for good: no `kept_memory` is the last to leave
        return _set_malloc(KEEP)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Memory once used stays with this process until the block ends; blocks may overlap, in threads too."""
    global _holders
    with _lock:
        _holders += 1
        if _holders == 1:
            _set_malloc(KEEP)
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                _set_malloc(USUAL)


def _set_malloc(options: dict[int, int]) -> bool:
    if _users_own() or not (mallopt := getattr(_libc(), "mallopt", None)):
        return False
    answers = [mallopt(name, value) for name, value in options.items()]
    return all(answer == 1 for answer in answers)


def _users_own() -> bool:
    return "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(
        name.startswith("MALLOC_") and name.endswith("_") for name in os.environ
    )


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None) if os.confstr("CS_GNU_LIBC_VERSION") else None
    except (AttributeError, ValueError, OSError, TypeError):  # not glibc; Windows has no confstr
        return None
