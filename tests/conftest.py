"""What every test runs under, and a real byte-level tokenizer for the toy decoders (toy_decoders.py)."""

import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched from a hub in tests
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from processes import run_processes, start_processes  # noqa: F401
from toy_decoders import tokenizer

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell starts the tests in the background


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Two cores and many small tensors: more threads only cost time."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_tokenizer():
    """A byte-level tokenizer: every byte a token, plus "<s>" and "<end>"."""
    return tokenizer()
