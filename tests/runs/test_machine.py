"""The line that says what a run was made on."""

import os
import platform

import torch

from polyprompt.data.messages import count
from polyprompt.runs.machine import machine, processor


def test_the_machine_is_told_by_processor_cores_and_threads():
    name, cores, threads, *_ = machine().rsplit(", ", 2 + torch.cuda.device_count())
    assert name
    assert name != "unknown"
    assert cores == count(os.cpu_count(), "core")
    assert threads == count(torch.get_num_threads(), "thread")


def test_where_linux_does_not_tell_it_is_the_architecture(tmp_path):
    listed = tmp_path / "cpuinfo"
    assert processor(listed) == platform.machine()
    listed.write_text("processor : 0\n")
    assert processor(listed) == platform.machine()
    listed.write_text("processor : 0\nmodel name : Toy: 9000\nmodel name : other\n")
    assert processor(listed) == "Toy: 9000"
