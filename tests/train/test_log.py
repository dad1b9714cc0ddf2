"""The log's running hash: what was altered, left out or put in is noticed, by who reads it and by who goes on."""

import json

import pytest
from toy_contrast import train

from polyprompt.errors import FileError
from polyprompt.train.log import Log, read_log

LINES = [{"step": step, "loss": 1 / step, "dev": {"recall": None}} for step in (1, 10, 20)]


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.open(0, "")
    for line in LINES:
        log.add(line)
    return log


def test_what_was_logged_is_read(log):
    log.add({"step": 21, "loss": float("nan")})
    assert read_log(log.path) == [*LINES, {"step": 21, "loss": None}]


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_noticed(log, bit):
    data = log.path.read_bytes()
    for place in range(bit, len(data), 5):
        log.path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        with pytest.raises(FileError, match=r"log\.jsonl: (line \d|cannot be read)"):
            read_log(log.path)


@pytest.mark.parametrize("rows", [[0, 2], [1, 2], [1, 0, 2], [0, 0, 1, 2]])
def test_lines_left_out_moved_or_put_in_are_noticed(log, rows):
    lines = log.path.read_text().splitlines(keepends=True)
    log.path.write_text("".join(lines[row] for row in rows))
    with pytest.raises(FileError, match="was altered, or lines before it"):
        read_log(log.path)


def test_a_line_that_was_being_written_is_left_out_and_cut_by_a_resume(log):
    length, total, whole = log.length(), log.total, log.path.read_bytes()
    log.add({"step": 30, "loss": 0.5})
    longer = log.path.read_bytes()
    for end in range(len(whole), len(longer) - 1):
        log.path.write_bytes(longer[:end])
        assert read_log(log.path) == LINES
    again = Log(log.path)
    again.open(length, total)
    assert log.path.read_bytes() == whole
    again.add({"step": 30, "loss": 0.5})
    assert log.path.read_bytes() == longer


@pytest.mark.parametrize("altered", [b"", b'{"step": 1}\n', None])
def test_a_log_that_is_no_longer_what_it_was_is_not_gone_on_with(log, altered):
    length, total = log.length(), log.total
    log.path.write_bytes(log.path.read_bytes().replace(b"0.05", b"0.06") if altered is None else altered)
    with pytest.raises(FileError, match=r"log\.jsonl: altered since the checkpoint"):
        Log(log.path).open(length, total)


def test_logs_of_earlier_versions_go_on(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    assert read_log(path) == LINES
    log = Log(path)
    log.open(path.stat().st_size, "")
    log.add({"step": 30, "loss": 0.5})
    assert read_log(path) == [*LINES, {"step": 30, "loss": 0.5}]
    path.write_text(path.read_text().replace("0.05", "0.06"))
    with pytest.raises(FileError, match="line 4 was altered, or lines before it"):
        read_log(path)


def test_a_resumed_run_knows(tmp_path):
    train(tmp_path, epochs=2)
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text().replace('"loss": ', '"loss": 1', 1))
    with pytest.raises(FileError, match=r"log\.jsonl: altered since the checkpoint"):
        train(tmp_path, epochs=2, resume=True)
