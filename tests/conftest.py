"""What every test runs under, and a real byte-level tokenizer for the toy decoders (toy_decoders.py)."""

import os
import signal
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched from a hub in tests
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hypothesis
import jaxtyping
import pytest
import torch
from outside import Watched, watch
from processes import run_processes, start_processes  # noqa: F401
from toy_decoders import tokenizer

from polyprompt.data.readers import class_folders, tables
from polyprompt.disk.rows import _with_major

READS = (
    *("bench", "cli", "data", "disk", "hostile", "media", "methods", "runs", "search", "serve", "skins", "towers"),
    "zoo",
)
"""Folders of tests that read foreign files."""
STARTERS = {"processes", "program", "run_processes", "start_processes"}
"""Fixtures that start processes; a test that asks for one starts them itself."""

hypothesis.settings.register_profile("tests", deadline=None)  # how long an example takes says how busy a machine is
hypothesis.settings.load_profile("tests")

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell starts the tests in the background


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Two cores and many small tensors: more threads only cost time."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def nothing_from_outside_runs(request):
    """In tests that read what others made (`READS`), whatever would run or reach beyond this process fails the test."""
    folder = Path(str(request.fspath)).relative_to(Path(__file__).parent).parts[0]
    allowed = {name for mark in request.node.iter_markers("outside") for name in mark.args}
    if STARTERS & set(request.fixturenames):
        allowed |= {"process", "socket"}
    if folder in READS:
        with watch(allowed) as seen:
            yield
        if seen.events:
            pytest.fail("; ".join(seen.events))
    else:
        yield


@pytest.fixture
def outside() -> Watched:
    """What the test's own reading did, to be looked at."""
    with watch(set()) as seen:
        yield seen


def changing(patch):
    def change(**values):
        for name, value in values.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, str(value))

    return change


@pytest.fixture
def environ(monkeypatch):
    """`environ(HOME="/tmp", PIP_INDEX_URL=None)`: variables for the time of the test; None takes one away."""
    return changing(monkeypatch)


@pytest.fixture(scope="module")
def module_environ():
    """The same until the last test of a module."""
    with pytest.MonkeyPatch.context() as patch:
        yield changing(patch)


@pytest.fixture
def readings(monkeypatch):
    """How often folders and tables were read to their end."""
    counts = Counter()

    def counted(rows):
        def read(source):
            yield from rows(source)
            counts[source] += 1

        return read

    for reader in (class_folders, tables):
        monkeypatch.setattr(reader, "rows", counted(reader.rows))
    return counts


@pytest.fixture
def cd():
    """`cd(folder)`: the working folder, until the test ends."""
    before = os.getcwd()
    yield os.chdir
    os.chdir(before)


@pytest.fixture
def import_from(monkeypatch):
    """`import_from(folder)`: modules that lie there can be imported, until the test ends."""
    return monkeypatch.syspath_prepend


@pytest.fixture
def not_installed(monkeypatch):
    """`not_installed("gguf")`: to import it fails, as where it is missing."""
    return lambda name: monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def cache(tmp_path, environ) -> Path:
    """The test has a cache of its own, and this is its folder."""
    environ(POLYPROMPT_CACHE=tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory, module_environ) -> Path:
    """What a module's fixtures make is kept in a cache of its own, and this is its folder."""
    folder = tmp_path_factory.mktemp("cache")
    module_environ(POLYPROMPT_CACHE=folder)
    return folder


@pytest.fixture
def unchecked(monkeypatch):
    """Shapes are not checked: compilers and exporters read the code that runs, and choke on the checks."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def started_as(monkeypatch):
    """`started_as("studies/x.py", "best")`: how this program is taken to have been started."""
    return lambda *words: monkeypatch.setattr("sys.argv", [*map(str, words)])


@pytest.fixture
def typed(started_as):
    """`typed("adapt", "photos")`: what a user is taken to have typed."""
    return lambda *words: started_as("polyprompt", *words)


@pytest.fixture
def every_epoch_kept(monkeypatch):
    """A checkpoint after each epoch of a run, however short it was."""
    from polyprompt.runs import align, training

    for module in (align, training):
        monkeypatch.setattr(module, "EPOCH_SECONDS", 0.0)


@pytest.fixture
def lines_at_once(monkeypatch):
    """Progress is told of from the first moment."""
    from polyprompt import progress

    monkeypatch.setattr(progress, "FIRST_LINE", 0.0)


@pytest.fixture
def installed(tmp_path, import_from):
    """`installed(torch="99.1")`: that version is found, in a folder before all others; the code is as it was."""
    import_from(tmp_path / "versions")

    def install(**versions):
        for name, version in versions.items():
            about = tmp_path / "versions" / f"{name}-0.dist-info" / "METADATA"
            about.parent.mkdir(parents=True, exist_ok=True)
            about.unlink(missing_ok=True)  # to write into one that is there takes some systems milliseconds
            about.write_text(f"Name: {name}\nVersion: {version}\n")
        _with_major.cache_clear()

    yield install
    _with_major.cache_clear()


@pytest.fixture
def empty_hub(tmp_path, monkeypatch) -> Path:
    """The folder in which files of the hub are looked for first; nothing is in it yet."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def here(monkeypatch):
    """Workers of a grid run in this process."""
    from polyprompt import executors
    from polyprompt.bench import grid

    monkeypatch.setattr(executors, "prepare", lambda executor, workers, module: None)
    monkeypatch.setattr(grid, "start", lambda executor, workers, job, plan, watch: job(plan))


@pytest.fixture(scope="session")
def toy_tokenizer():
    """A byte-level tokenizer: every byte a token, plus "<s>" and "<end>"."""
    return tokenizer()
