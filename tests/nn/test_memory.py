"""Memory that is kept: counted by the system's page faults, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIG = """
import ctypes, os, resource
from polyprompt.nn.memory import keep_memory, kept_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]

def faults(rounds=20, size=64 << 20):
    '''Pages that come and go with a block of 64 MiB: those of the rounds behind the first.'''
    before = 0
    for turn in range(rounds + 1):
        if turn == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = libc.malloc(size)
        libc.memset(block, 1, size)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", BIG + code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return done.stdout.split()


@pytest.fixture(autouse=True)
def glibc():
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        pytest.skip("not glibc")


def test_a_program_keeps_its_memory():
    before, told, after = run("print(faults(), keep_memory(), faults())")
    assert told == "True"
    assert int(after) < int(before) / 5


def test_the_library_keeps_it_for_the_time_of_a_call():
    code = """
first = faults()
with kept_memory():
    with kept_memory():
        inside = faults()
    between = faults()
print(first, inside, between, faults())
"""
    first, inside, between, after = map(int, run(code))
    assert max(inside, between) < first / 5
    assert after > first / 5  # handed back


def test_a_call_does_not_undo_what_the_program_chose():
    kept, after = map(int, run("keep_memory()\nwith kept_memory():\n    inside = faults()\nprint(inside, faults())"))
    assert after < kept + 1000


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_"])
def test_the_users_own_choice_stays(name):
    assert run("print(keep_memory())", **{name: "100000"}) == ["False"]
    assert run("print(keep_memory())", GLIBC_TUNABLES="glibc.malloc.trim_threshold=100000") == ["False"]


def test_a_call_that_fails_hands_it_back_too():
    code = """
try:
    with kept_memory():
        raise KeyError
except KeyError:
    pass
from polyprompt.nn import memory
print(memory._holders)
"""
    assert run(code) == ["0"]


HUGE = """
keep_memory()
import torch
at, here = torch.ones(16 << 20).data_ptr(), False
for line in open("/proc/self/smaps"):
    head, *rest = line.split()
    if "-" in head:
        first, end = (int(part, 16) for part in head.split("-"))
        here = first <= at + (8 << 20) < end
    elif here and head == "VmFlags:":
        print("hg" in rest)
"""
"""Whether the kernel was asked; it has large pages to give only where memory is not in pieces."""


def test_torch_is_asked_for_large_pages_unless_the_user_did_not_want_them():
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.exists() or "[madvise]" not in setting.read_text():
        pytest.skip("this kernel gives large pages to all or to none")
    assert run(HUGE) == ["True"]
    assert run(HUGE, THP_MEM_ALLOC_ENABLE="0") == ["False"]
