"""Processes know of each other, and what the main one finds wrong ends them all."""

import os

import pytest
from toy_runs import print_place


@pytest.mark.parametrize("world", [1, 2])
def test_processes_know_of_each_other(world, tmp_path, start_processes):
    started = start_processes(print_place, world, folder=tmp_path)
    for process in started:
        process.join(60)
        assert process.output.read_text().strip().endswith("FileError: said by process 0")
    assert sorted(os.listdir(tmp_path)) == [f"{rank}-of-{world}" for rank in range(world)]
