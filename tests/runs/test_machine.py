"""The line that says what a run was made on."""

import platform

import torch

from polyprompt.runs.machine import machine


def test_the_machine_is_told_by_processor_cores_and_threads():
    processor, cores, threads, *_ = machine().rsplit(", ", 2 + torch.cuda.device_count())
    assert processor
    assert processor != "unknown"
    assert cores.endswith(" cores")
    assert threads == f"{torch.get_num_threads()} threads"


def test_without_linux_it_is_the_architecture(monkeypatch):
    monkeypatch.setattr("polyprompt.runs.machine.Path.exists", lambda _: False)
    assert machine().startswith(platform.machine())
