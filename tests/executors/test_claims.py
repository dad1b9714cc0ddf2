"""Claims: one holder at a time, a number that fences off whoever returns late, results kept once."""

import json
import os
import signal
import socket
import threading
import time

import pytest

from polyprompt.disk import files
from polyprompt.errors import FileError
from polyprompt.executors.claims import take


def test_one_holder_at_a_time(tmp_path):
    first = take(tmp_path / "work")
    assert first.number == 1
    assert take(tmp_path / "work") is None
    first.give_back()
    assert take(tmp_path / "work").number == 2


def test_a_silent_holder_is_taken_over_and_fenced_off(tmp_path):
    """The first one hears nothing of it; what it brings later is thrown away."""
    first = take(tmp_path / "work", lease=0.2)
    first.ended.set()  # it is stopped: no beat any more
    assert take(tmp_path / "work", lease=0.2) is None
    time.sleep(0.3)
    second = take(tmp_path / "work", lease=0.2)
    assert second.number == 2
    assert (first.still_held(), second.still_held()) == (False, True)
    for name, claim in (("late", first), ("good", second)):
        (tmp_path / name).write_text(name)
        assert claim.publish(tmp_path / name, tmp_path / "result") == (name == "good")
        assert not (tmp_path / name).exists()
    assert (tmp_path / "result").read_text() == "good"


def test_a_holder_that_beats_keeps_its_claim(tmp_path):
    claim = take(tmp_path / "work", lease=0.4)
    time.sleep(0.8)
    assert take(tmp_path / "work", lease=0.4) is None
    claim.give_back()


def test_a_clock_that_was_put_back_keeps_no_lost_claim_alive(tmp_path):
    """Its holder is of another machine; its last touch lies a year ahead."""
    claim = take(tmp_path / "work")
    claim.ended.set()
    (tmp_path / "work" / "1").write_text(json.dumps({"host": "elsewhere", "pid": 1, "began": "1"}))
    ahead = time.time() + 365 * 86400
    os.utime(tmp_path / "work" / "1", (ahead, ahead))
    assert take(tmp_path / "work").number == 2


def test_a_result_that_stands_is_not_replaced(tmp_path):
    claim = take(tmp_path / "work")
    (tmp_path / "result").write_text("before")
    (tmp_path / "mine").write_text("mine")
    assert not claim.publish(tmp_path / "mine", tmp_path / "result")
    assert (tmp_path / "result").read_text() == "before"
    claim.give_back()


def hold(folder):
    take(folder, lease=1000.0)
    time.sleep(60)


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_holder_on_this_machine_is_taken_over_at_once(tmp_path, start_processes, ended_by):
    (process,) = start_processes(hold, folder=tmp_path / "work")
    until = time.monotonic() + 30
    while not (tmp_path / "work" / "1").exists() or not (tmp_path / "work" / "1").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert take(tmp_path / "work", lease=1000.0) is None
    os.kill(process.pid, ended_by)
    process.join()
    assert take(tmp_path / "work", lease=1000.0).number == 2


@pytest.mark.parametrize("holder", ["", "null", '{"host"', json.dumps({"host": "elsewhere", "pid": 1, "began": "1"})])
def test_a_holder_elsewhere_or_half_written_has_its_lease(tmp_path, holder):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "1").write_text(holder)
    assert take(tmp_path / "work", lease=5.0) is None
    long_ago = time.time() - 6
    os.utime(tmp_path / "work" / "1", (long_ago, long_ago))
    assert take(tmp_path / "work", lease=5.0).number == 2


HERE = {"host": socket.gethostname(), "pid": os.getpid()}


@pytest.mark.parametrize(
    "damage",
    [
        *('"abc"', "[1]", "1", "[" * 100_000, "\xff", '{"host": 1}'),
        *(json.dumps(HERE | more) for more in ({}, {"began": 1}, {"began": "1", "pid": "1"})),
    ],
    ids=range(9),
)
def test_a_damaged_claim_has_its_lease(tmp_path, damage):
    path = files.make_folder(tmp_path / "work") / "1"
    path.write_text(damage, encoding="latin-1")
    assert take(tmp_path / "work", lease=5.0) is None
    long_ago = time.time() - 6
    os.utime(path, (long_ago, long_ago))
    assert take(tmp_path / "work", lease=5.0).number == 2


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_in_a_claims_place_has_its_lease(tmp_path, make):
    path = files.make_folder(tmp_path / "work") / "1"
    make(path)
    assert take(tmp_path / "work", lease=5.0) is None
    long_ago = time.time() - 6
    os.utime(path, (long_ago, long_ago))
    assert take(tmp_path / "work", lease=5.0).number == 2


def test_a_claim_that_goes_while_it_is_looked_at_is_no_more(tmp_path):
    os.symlink("nowhere", files.make_folder(tmp_path / "work") / "1")
    assert take(tmp_path / "work").number == 2


def test_a_number_of_a_process_that_is_used_again_is_another_process(tmp_path):
    (tmp_path / "work").mkdir()
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "began": "12"}
    (tmp_path / "work" / "1").write_text(json.dumps(holder))
    assert take(tmp_path / "work", lease=1000.0).number == 2


def test_many_at_once_are_one(tmp_path):
    found, ready = [], threading.Barrier(16)

    def one():
        ready.wait()
        found.append(take(tmp_path / "work"))

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([claim for claim in found if claim]) == 1


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file"):
        take(tmp_path / "file" / "work")
