"""How the program ends: one line and exit code 2 for what is the user's, 130 for Ctrl-C, whenever it comes."""

import os
import subprocess
import sys

import pytest
import torch

from polyprompt import __version__
from polyprompt.cli import app, main

pytestmark = pytest.mark.outside("process")

PRESS = """
import os, signal, sys

class Press:
    '''Ctrl-C, at the moment when a module is first looked for.'''

    def find_spec(self, name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Press())
sys.argv = ["polyprompt", "align", "photos", "--out", "run"]
from polyprompt.cli.main import main
main()
"""
OWN = """
import sys
from polyprompt.cli.app import app

@app.command("own")
def own() -> None:
    {code}

sys.argv = ["polyprompt", "own"]
from polyprompt.cli.main import main
main()
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "module", ["polyprompt.cli.app", "typer", "pydantic", "polyprompt.cli.demo", "polyprompt.cli.cost"]
)
def test_ctrl_c_before_the_command_begins(module):
    assert run(PRESS.format(name=module)) == (130, "polyprompt: stopped.\n")


def test_ctrl_c_says_resume_where_there_is_one():
    with_resume = "stopped; what was finished is kept. To go on: the same again, with --resume."
    assert {"align", "adapt"} == app.RESUMABLE
    assert main.stopped(["align", "photos"]) == main.stopped(["adapt"]) == with_resume
    assert main.stopped(["run", "few-shot"]) == (
        "stopped; the cells that were finished are kept. To go on: the same again."
    )
    assert main.stopped(["predict", "run", "align"]) == main.stopped([]) == main.stopped(["--help"]) == "stopped."


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import torch; torch.empty(10**15)", "there is not enough memory for this ("),
        ("raise MemoryError", "there is not enough memory for this ()."),
        ("from polyprompt.errors import DataError; raise DataError('a\\nb: broken')", "polyprompt: a\\nb: broken.\n"),
        ("import signal, os; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(9)", "polyprompt: stopped."),
    ],
    ids=["allocator", "memory", "newline", "ctrl-c"],
)
def test_an_end_is_one_line(code, expected):
    end, err = run(OWN.format(code=code))
    assert end == (130 if "signal" in code else 2)
    assert expected in err
    assert err.count("\n") == 1


FINALIZER = """
import os, signal, time

class Ends:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
"""


def test_ctrl_c_within_a_finalizer():
    assert run(FINALIZER + OWN.format(code="Ends(); time.sleep(9)")) == (130, "polyprompt: stopped.\n")


@pytest.mark.parametrize("line", ["no such file.", "Did you mean 'maple'?", "one of them is dtd, eurosat, ..."])
def test_an_end_has_its_full_stop(line):
    assert main.sentence(line) == line
    assert main.sentence(f"{line[:-1]}\n'x'") == f"{line[:-1]}\\n'x'."


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_what_is_said_cannot_be_written():
    """A full disk behind `>`, on either stream; a file of ours that cannot be opened is still a mistake of ours."""
    say = OWN.format(code="print('a' * 9_999_999)")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", say], stdout=full, stderr=subprocess.PIPE, text=True)
        message = "polyprompt: what it has to say cannot be written (No space left on device).\n"
        assert (done.returncode, done.stderr) == (2, message)
        assert subprocess.run([sys.executable, "-c", say], stdout=full, stderr=full).returncode == 2
    done = subprocess.run([sys.executable, "-c", OWN.format(code="open('/none')")], capture_output=True, text=True)
    assert (done.returncode, "FileNotFoundError" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "words", ["report {}", "predict {} {}", "search {} a", "check {}", "align {} --precision fp32 --out run"]
)
def test_a_name_that_no_disk_takes_is_one_line(words, polyprompt, tmp_path, cd):
    cd(tmp_path)
    code, _, err = polyprompt(*words.replace("{}", "n" * 300).split())
    assert (code, err.count("\n")) == (2, 1)
    assert "n" * 300 in err


def test_whoever_reads_has_read_enough():
    shell = f'{sys.executable} -c "$0" | head -c 1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", shell, OWN.format(code="print('a' * 9_999_999)")], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("a1\n", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_not_there(closed):
    for code, end in (("print('a')", 0), ("from polyprompt.errors import DataError; raise DataError('a')", 2)):
        done = subprocess.run(["bash", "-c", f'{sys.executable} -c "$0" {closed}', OWN.format(code=code)])
        assert done.returncode == end


def test_a_mistake_of_ours_is_shown_whole():
    done = subprocess.run([sys.executable, "-c", OWN.format(code="{}['x']")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "KeyError" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["align", "photos", "--out", "run", "--epoch", 3], "No such option: --epoch"),
        (["adapt", "pets", "--out", "run", "--weight-decay", 0], "--weight-decay. Write --set weight_decay=VALUE."),
        (["align", "photos"], "Missing option '--out'.\n"),
        (["adapt", "--resume", "run"], "Missing option '--out'. --resume takes no folder: repeat the whole command"),
        (["search"], "Missing argument"),
        (["search", "run", "x", "--top", "many"], "Invalid value for '--top'"),
        (["search", "run", "x", "--top", 0], "Invalid value for '--top'"),
        (["aling"], "No such command 'aling'"),
        (["cost", "--tokens"], "Option '--tokens' requires an argument"),
    ],
    ids=str,
)
def test_words_that_are_no_command_are_one_line(words, expected, polyprompt):
    code, out, err = polyprompt(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("polyprompt: ")
    assert err.endswith((".\n", "?\n"))
    assert expected in err


@pytest.mark.parametrize("words", [[], ["data"]], ids=str)
def test_no_command_at_all_is_answered_by_the_help(words, polyprompt):
    code, out, err = polyprompt(*words)
    shown = polyprompt(*words, "--help")
    assert (code, out) == (2, "")
    assert (0, err, "") == shown
    assert "\nCommands:\n" in err


def test_the_version(polyprompt):
    code, out, err = polyprompt("--version")
    assert (code, err) == (0, "")
    assert out.startswith(f"polyprompt {__version__}, torch {torch.__version__.partition('+')[0]}")


def test_a_name_that_is_not_utf_8_is_told_and_not_crashed_on(program, tmp_path):
    for words in (
        ["align", b"caf\xe9", "--out", tmp_path / "run"],
        ["align", tmp_path, "--set", b"name=caf\xe9", "--out", tmp_path / "run"],
        ["predict", tmp_path, tmp_path / "a.png", "--classes", b"caf\xe9,tea"],
        ["report", b"caf\xe9"],
    ):
        process = program(*words)
        _, err = process.communicate()
        assert process.returncode == 2, err
        assert (err.count("\n"), err[:12]) == (1, "polyprompt: ")
