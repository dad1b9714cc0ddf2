import io
import logging
import subprocess
import sys
import time
from contextlib import redirect_stderr

import pytest

from polyprompt import progress
from polyprompt.progress import duration, only_ours, step, track


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_lines_come_now_and_then_and_tell_the_time_left(capsys):
    clock = Clock()
    with progress._lines("Reading", 100, 20, clock) as advance:
        for second in range(40):
            clock.now = second + 1.0
            advance(note="loss 0.5")
    assert lines_of(capsys) == [
        "polyprompt: Reading: 23 of 100 (23 %), 1 min 17 s left, loss 0.5",
        "polyprompt: Reading: 33 of 100 (33 %), 1 min 07 s left, loss 0.5",
        "polyprompt: Reading: 43 of 100 (43 %), 57 s left, loss 0.5",
        "polyprompt: Reading: 53 of 100 (53 %), 47 s left, loss 0.5",
        "polyprompt: Reading: 60 done in 40 s",
    ]


def test_no_more_time_is_left_than_a_step_has(capsys):
    clock = Clock()
    with progress._lines("Training", 800, 0, clock, 20.0) as advance:
        for second in range(13):
            clock.now = second + 1.0
            advance(2 if second < 10 else 240)
    assert lines_of(capsys) == [
        "polyprompt: Training: 6 of 800 (0 %), 17 s left",
        "polyprompt: Training: 740 of 800 (92 %), 1 s left",
        "polyprompt: Training: 740 done in 13 s",
    ]


def test_what_does_not_move_is_said_once(capsys):
    clock = Clock()
    with progress._lines("Cells", 9, 3, clock) as advance:
        for count in (0, 0, 0, 1):
            clock.now += 20.0
            advance(count)
    assert [line.partition(",")[0] for line in lines_of(capsys)] == [
        "polyprompt: Cells: 3 of 9 (33 %)",
        "polyprompt: Cells: 4 of 9 (44 %)",
        "polyprompt: Cells: 4 done in 1 min 20 s",
    ]


def test_without_a_total_there_is_no_time_left(capsys):
    clock = Clock()
    with progress._lines("Reading", None, 0, clock) as advance:
        clock.now = 5.0
        advance(1200)
    assert lines_of(capsys) == ["polyprompt: Reading: 1,200", "polyprompt: Reading: 1,200 done in 5 s"]


def test_what_is_quick_says_nothing_and_passes_its_items_on(capsys):
    assert list(track("abc", "Reading")) == ["a", "b", "c"]
    assert list(track(iter("abc"), "Reading")) == ["a", "b", "c"]
    assert lines_of(capsys) == []


def test_a_quick_step_without_units_says_nothing(capsys):
    with step("Writing"):
        pass
    assert lines_of(capsys) == []


def test_a_step_without_units_is_said_while_it_lasts_and_when_it_is_done(capsys, lines_at_once):
    with step("Writing, a second"):
        time.sleep(0.2)
        assert lines_of(capsys) == ["polyprompt: Writing, a second ..."]
    assert lines_of(capsys) == ["polyprompt: Writing: done in 0 s"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar(environ):
    terminal = Terminal()
    environ(TERM="xterm")
    with redirect_stderr(terminal):
        assert [list(track("ab", f"Inner {item}")) for item in track(range(3), "Outer")] == [["a", "b"]] * 3
        with progress.progress("Short", 100, seconds=20.0):
            pass
    message = terminal.getvalue()
    assert "20 s left" in message
    assert "Outer" in message
    assert "Inner 2" in message
    assert "3/3" in message


def test_where_there_is_no_stderr_nothing_is_said(capsys):
    with redirect_stderr(None):
        assert list(track("ab", "Reading")) == ["a", "b"]
        progress.say("x")
    assert capsys.readouterr().out == ""


def test_only_the_first_of_several_processes_speaks(environ, lines_at_once):
    terminal = Terminal()
    environ(RANK=1)
    with redirect_stderr(terminal):
        assert list(track(range(3), "Reading")) == [0, 1, 2]
        with progress.progress("Reading", 2) as advance:
            advance(2, note="x")
        with step("Writing"):
            time.sleep(0.1)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "message"),
    [(-1.0, "0 s"), (8.4, "8 s"), (59.7, "1 min 00 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 05 min")],
)
def test_durations_read_as_people_say_them(seconds, message):
    assert duration(seconds) == message


def test_what_libraries_log_of_weights_is_held_back_and_nothing_else(capsys):
    libraries = [logging.getLogger(name) for name in ("huggingface_hub", "transformers.modeling")]
    own = logging.StreamHandler(sys.stderr)
    logging.getLogger("huggingface_hub").addHandler(own)
    try:
        for _ in range(2):
            with only_ours():
                for one in (logging.root, *libraries):
                    one.error("retrying")
                logging.getLogger("my_lab").warning("mine")
        logging.getLogger("huggingface_hub.utils").error("later")
    finally:
        logging.getLogger("huggingface_hub").removeHandler(own)
    assert lines_of(capsys) == ["later"]


def test_no_handler_is_left_at_the_root():
    """As one that `logging.error` makes where there is none; all that other libraries log would be said twice."""
    words = "import logging; from polyprompt.progress import only_ours\n"
    words += "with only_ours(): logging.error('held')\nassert logging.root.handlers == []; logging.error('said')"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "ERROR:root:said\n")
