import errno
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from polyprompt.disk import files
from polyprompt.errors import CacheError, FileError

pytestmark = pytest.mark.usefixtures("cache")


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# Writing


@given(data=st.binary(max_size=300))
def test_what_is_written_is_read(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "a.bin"
    files.write_bytes(path, b"old")
    files.write_bytes(path, data)
    assert path.read_bytes() == data
    assert os.listdir(path.parent) == ["a.bin"]
    assert files.sha256(path) == hashlib.sha256(data).hexdigest()


def test_a_text_with_a_name_that_is_not_utf_8_is_written(tmp_path):
    files.write_text(tmp_path / "x", "caf\udce9 é")
    assert (tmp_path / "x").read_text(encoding="utf-8") == "caf\\udce9 é"


def test_json_comes_back(tmp_path):
    value = {"recall@1": 0.5, "naïve": ["é", None, True], "nested": {"n": 3}}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value == json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert files.json_text("a", {"é": [1]}) == '{\n  "é": [\n    1\n  ]\n}\n'  # seals hash it, letter by letter


@pytest.mark.parametrize("value", [{"loss": float("nan")}, {"path": Path("x")}])
def test_what_json_cannot_say_is_refused_and_the_old_file_stays(tmp_path, value):
    path = tmp_path / "results.json"
    files.write_json(path, {})
    with pytest.raises(FileError, match=re.escape(f"{path}: not written")):
        files.write_json(path, value)
    assert files.read_json(path) == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [(b'{"a": 1', "not JSON"), (b"\xff\xfe", "not JSON"), (b"[" * 100_000, "not JSON"), (None, "No such")],
)
def test_a_damaged_or_missing_json_is_named(tmp_path, content, says):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=says) as error:
        files.read_json(path)
    assert one_line(error).startswith(f"{path}: ")


KILLED_IN_A_WRITE = """
import os, signal, sys
from pathlib import Path
from polyprompt.disk import files
with files.whole_file(sys.argv[1]) as temporary:
    with open(temporary, "wb") as file:
        file.write(b"n" * 1000)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""

WRITES_FOR_EVER = """
import itertools, sys
from polyprompt.disk import files
for i in itertools.count():
    files.write_bytes(sys.argv[1], bytes([65 + i % 26]) * 3_000_000)
    if not i:
        print("started", flush=True)
"""


@pytest.mark.outside("process")
def test_a_kill_in_the_middle_of_a_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    files.write_bytes(path, b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_A_WRITE, str(path)])
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert any(name.endswith(".tmp") for name in os.listdir(tmp_path))  # it was in the middle indeed


@pytest.mark.outside("process")
def test_kills_at_any_moment_leave_a_whole_file(tmp_path):
    path = tmp_path / "a.bin"
    for wait in (0.001, 0.013, 0.029, 0.047):
        writer = subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(wait)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        data = path.read_bytes()
        assert len(data) == 3_000_000
        assert data == data[:1] * len(data)


@pytest.fixture
def full_disk(monkeypatch):
    """`full_disk()`: from now on there is no room for what is brought to the disk."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(os, "fsync", full)


def test_a_full_disk_gives_one_line_and_the_old_file_stays(tmp_path, full_disk):
    path = tmp_path / "a.bin"
    files.write_bytes(path, b"old")
    full_disk()
    with pytest.raises(FileError, match=r"No space left on device.*Free some room") as error:
        files.write_bytes(path, b"new")
    assert one_line(error).startswith(f"{path}: cannot be written")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_full_disk_in_the_cache_names_the_way_out(full_disk):
    path = files.cache_folder("x") / "a.bin"
    full_disk()
    with pytest.raises(CacheError, match="POLYPROMPT_CACHE"):
        files.write_bytes(path, b"new")


@pytest.fixture
def small_files_only():
    """The system itself refuses to write past 10 kB, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_systems_own_refusal_in_the_middle_of_a_file(tmp_path, small_files_only):
    path = tmp_path / "a.bin"
    files.write_bytes(path, b"old")
    with pytest.raises(FileError, match=r"File too large.*Free some room"):
        files.write_bytes(path, b"n" * 20_000)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_refusal_that_safetensors_reports_in_its_own_way(tmp_path, small_files_only):
    with (
        pytest.raises(FileError, match=r"model: cannot be written \(File too large") as error,
        files.whole_folder(tmp_path / "model") as folder,
    ):
        save_file({"weight": np.zeros(5_000)}, folder / "model.safetensors")
    one_line(error)
    assert os.listdir(tmp_path) == []


def test_other_errors_of_the_block_pass_and_leave_nothing(tmp_path):
    with pytest.raises(KeyError), files.whole_folder(tmp_path / "model") as folder:
        (folder / "a").write_bytes({}["absent"])
    assert os.listdir(tmp_path) == []


def test_a_folder_is_not_written_over(tmp_path):
    with files.whole_folder(tmp_path / "model") as folder:
        (folder / "a").write_bytes(b"first")
    with pytest.raises(FileError, match="exists already"), files.whole_folder(tmp_path / "model") as folder:
        (folder / "a").write_bytes(b"second")
    assert (tmp_path / "model" / "a").read_bytes() == b"first"


def test_what_nobody_writes_to_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (files.read_bytes, files.read_json, files.sha256):
        with pytest.raises(FileError, match=r"pipe: cannot be read \(not a regular file\)"):
            read(tmp_path / "pipe")


def test_all_files_of_a_folder_can_be_read_by_whom_the_umask_lets(tmp_path):
    with files.whole_folder(tmp_path / "model") as folder:
        save_file({"weight": np.zeros(5)}, folder / "model.safetensors")
        (folder / "deep").mkdir()
        save_file({"weight": np.zeros(5)}, folder / "deep" / "model.safetensors")
    (tmp_path / "plain").write_text("")
    paths = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in paths} == {(tmp_path / "plain").stat().st_mode}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_can_be_read_by_whom_the_umask_lets(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        for _ in range(2):  # the second in place of the first
            with files.whole_file(tmp_path / "a.safetensors") as temporary:
                save_file({"weight": np.zeros(5)}, temporary)
        files.write_text(tmp_path / "b", "b")
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {"a.safetensors": mode, "b": mode}


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileError, match=r"nowhere/a.bin: cannot be written \(No such file"):
        files.write_bytes(tmp_path / "nowhere" / "a.bin", b"")


# Reading and checking


@pytest.fixture
def saved(tmp_path):
    with files.whole_folder(tmp_path / "saved") as folder:
        (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4)
        (folder / "deep").mkdir()
        (folder / "deep" / "config.json").write_text("{}")
    return tmp_path / "saved"


def test_a_manifest_lists_every_file_with_its_hash(saved):
    expected = {
        name: hashlib.sha256((saved / name).read_bytes()).hexdigest()
        for name in ("deep/config.json", "model.safetensors")
    }
    assert files.check_manifest(saved) == expected == json.loads((saved / "manifest.json").read_text())


@given(bit=st.integers(0, 8 * 1024 - 1))
def test_a_flipped_bit_is_named(tmp_path_factory, bit):
    folder = tmp_path_factory.mktemp("any") / "saved"
    with files.whole_folder(folder) as temporary:
        (temporary / "model.safetensors").write_bytes(bytes(range(256)) * 4)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    with pytest.raises(FileError, match=re.escape(f"{path}: damaged")) as error:
        files.check_manifest(folder)
    one_line(error)


@pytest.mark.parametrize("name", ["model.safetensors", "deep/config.json", "manifest.json"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileError, match=re.escape(str(saved / name))):
        files.check_manifest(saved)


@pytest.mark.parametrize("text", ["[]", '{"model.safetensors": 3}', "{", "{}"])
def test_a_damaged_manifest_is_named(saved, text):
    (saved / "manifest.json").write_text(text)
    with pytest.raises(FileError, match=r"manifest\.json: damaged"):
        files.check_manifest(saved)


def test_a_manifest_of_some_files_ignores_the_others(saved):
    files.write_manifest(saved, ["model.safetensors"])
    (saved / "deep" / "config.json").write_text("changed")
    assert list(files.check_manifest(saved)) == ["model.safetensors"]


def test_a_manifest_has_to_name_what_is_opened(saved):
    files.check_manifest(saved, ["model.safetensors", "deep/config.json"])
    files.write_manifest(saved, ["model.safetensors"])
    with pytest.raises(FileError, match=r"manifest\.json: damaged, it does not name deep/config\.json") as error:
        files.check_manifest(saved, ["model.safetensors", "deep/config.json"])
    one_line(error)


@pytest.mark.parametrize("name", ["../x", "deep/../../x", "/x", "", ".", "..", "a\0", "\ud800", "../../" * 50])
def test_a_manifest_names_files_of_its_folder(saved, name):
    (saved.parent / "x").write_text("")
    (saved / "manifest.json").write_text(json.dumps({name: files.sha256(saved.parent / "x")}))
    with pytest.raises(FileError, match=r"manifest\.json: damaged, .* no name of a file in its folder") as error:
        files.check_manifest(saved)
    one_line(error)


@pytest.mark.parametrize("name", ["caf\udce9", "a\nb", "..a", "a..", "deep/.hidden"])
def test_a_manifest_names_files_however_they_are_called(saved, name):
    (saved / name).write_text("")
    files.write_manifest(saved)
    assert name in files.check_manifest(saved)


def test_digest_keeps_parts_apart():
    assert files.digest("ab", "c") != files.digest("a", "bc") != files.digest("abc")
    assert files.digest("é") == files.digest("é".encode())
    by_hand = hashlib.sha256(b"\x02" + bytes(7) + b"ab" + b"\x01" + bytes(7) + b"c").hexdigest()
    assert files.digest("ab", b"c") == by_hand


# The cache


def test_where_the_cache_is(tmp_path, environ):
    assert files.cache_folder("a", "b") == tmp_path / "cache" / "a" / "b"
    environ(POLYPROMPT_CACHE=None, XDG_CACHE_HOME=tmp_path / "xdg")
    assert files.cache_folder("a") == tmp_path / "xdg" / "polyprompt" / "a"
    environ(XDG_CACHE_HOME=None, HOME=tmp_path / "home")
    assert files.cache_folder("a") == tmp_path / "home" / ".cache" / "polyprompt" / "a"
    assert files.cache_folder("a").is_dir()


def test_a_cache_that_cannot_be_made(tmp_path, environ):
    (tmp_path / "file").write_text("")
    environ(POLYPROMPT_CACHE=tmp_path / "file")
    with pytest.raises(CacheError, match="POLYPROMPT_CACHE") as error:
        files.cache_folder("a")
    one_line(error)


CONTENT = hashlib.sha256(b"content").hexdigest()


class Builder:
    """Counts how often it builds."""

    def __init__(self):
        self.times = 0

    def __call__(self, folder):
        self.times += 1
        (folder / "a.bin").write_bytes(b"content")


def test_a_cache_is_built_once_and_again_when_damaged(capsys):
    folder, build = files.cache_folder("x") / "thing", Builder()
    assert files.built_once(folder, build, "Building") == folder
    files.built_once(folder, build, "Building")
    assert build.times == 1
    assert capsys.readouterr().err == f"polyprompt: Building, this once, into {folder}\n"

    (folder / "a.bin").write_bytes(b"Content")
    files.built_once(folder, build, "Building")
    assert build.times == 2
    assert (folder / "a.bin").read_bytes() == b"content"
    assert (folder.parent / "thing.damaged" / "a.bin").read_bytes() == b"Content"
    assert f"{folder / 'a.bin'}: damaged" in capsys.readouterr().err


@pytest.mark.parametrize(("kept", "manifest"), [(["a.bin"], {}), ([], {}), (["a.bin", "deep/b"], {"a.bin": CONTENT})])
def test_a_cache_of_which_the_manifest_does_not_name_all_is_built_again(kept, manifest, capsys):
    folder, build = files.cache_folder("x") / "thing", Builder()
    files.make_folder(folder / "deep")
    for name in kept:
        (folder / name).write_bytes(b"content")
    files.write_json(folder / "manifest.json", manifest)
    files.built_once(folder, build, "Building")
    assert build.times == 1
    assert sorted(os.listdir(folder)) == ["a.bin", "manifest.json"]
    assert "It is only a cache: set aside" in capsys.readouterr().err


def test_a_cache_may_hold_what_systems_and_killed_writers_leave():
    folder, build = files.cache_folder("x") / "thing", Builder()
    files.built_once(folder, build, "Building")
    for name in (".DS_Store", ".a.0123456789ab.tmp"):
        (folder / name).write_text("")
    files.built_once(folder, build, "Building")
    assert build.times == 1


def test_a_build_that_fails_leaves_nothing_and_what_a_kill_left_is_cleared():
    folder = files.cache_folder("x") / "thing"
    (folder.parent / ".thing.0123456789ab.tmp").mkdir()
    (folder.parent / ".thing.0123456789ab.tmp" / "half").write_text("")

    def fail(_):
        raise CacheError("no")

    with pytest.raises(CacheError):
        files.built_once(folder, fail, "Building")
    assert os.listdir(folder.parent) == []


COUNTS = """
import sys
from pathlib import Path
from polyprompt.disk.files import one_process_at_a_time
for _ in range(50):
    with one_process_at_a_time(Path(sys.argv[1]) / "thing"):
        file = Path(sys.argv[1]) / "count"
        file.write_text(str(int(file.read_text()) + 1))
"""


@pytest.mark.outside("process")
def test_a_lock_holds_and_leaves_no_file(tmp_path):
    (tmp_path / "count").write_text("0")
    counters = [subprocess.Popen([sys.executable, "-c", COUNTS, str(tmp_path)]) for _ in range(4)]
    assert [counter.wait() for counter in counters] == [0, 0, 0, 0]
    assert (tmp_path / "count").read_text() == "200"
    assert os.listdir(tmp_path) == ["count"]


BUILDS = """
import sys, time
from pathlib import Path
from polyprompt.disk import files
def build(folder):
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    time.sleep(0.3)
    (folder / "a").write_text("a")
files.built_once(files.cache_folder("x") / "thing", build, "Building")
"""


@pytest.mark.outside("process")
def test_of_several_processes_one_builds(tmp_path):
    log = tmp_path / "log"
    builders = [subprocess.Popen([sys.executable, "-c", BUILDS, str(log)]) for _ in range(3)]
    assert [builder.wait() for builder in builders] == [0, 0, 0]
    assert log.read_text() == "built\n"


# Wheels


@pytest.fixture
def index(tmp_path, environ):
    """A package index of one folder with one wheel, which pip itself reads; the wheel's path."""
    folder = tmp_path / "index"
    folder.mkdir()
    environ(**{name: None for name in os.environ if name.startswith("PIP_")})
    environ(PIP_CONFIG_FILE=os.devnull, PIP_NO_INDEX=1, PIP_FIND_LINKS=folder, PIP_DISABLE_PIP_VERSION_CHECK=1)
    info = "toy-1.0.dist-info"
    with zipfile.ZipFile(folder / "toy-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy/weights.bin", b"weights")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\nRequires-Dist: absent\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder / "toy-1.0-py3-none-any.whl"


@pytest.mark.outside("process")
def test_a_wheel_is_fetched_once_and_again_when_damaged(index, capsys):
    expected = files.sha256(index)
    wheel = files.pinned_wheel("toy", "1.0", expected)
    assert wheel.read_bytes() == index.read_bytes()
    data = bytearray(index.read_bytes())
    data[40] ^= 1
    wheel.write_bytes(data)
    capsys.readouterr()
    assert files.pinned_wheel("toy", "1.0", expected).read_bytes() == index.read_bytes()
    assert f"{wheel} is damaged" in capsys.readouterr().err

    index.unlink()
    assert files.pinned_wheel("toy", "1.0", expected) == wheel
    assert capsys.readouterr().err == ""


@pytest.mark.outside("process")
def test_a_wheel_with_another_sha256_is_refused_and_set_aside(index, cache):
    with pytest.raises(FileError, match=r"toy 1\.0: refused") as error:
        files.pinned_wheel("toy", "1.0", "0" * 64)
    assert files.sha256(index) in one_line(error)
    assert "0" * 64 in one_line(error)
    kept = sorted(path.name for path in (cache / "wheels" / "toy-1.0").iterdir())
    assert kept == ["toy-1.0-py3-none-any.whl.damaged"]


@pytest.mark.outside("process")
def test_a_wheel_that_pip_cannot_get(index):
    index.unlink()
    with pytest.raises(FileError, match=r"toy 1\.0: pip could not download it \(No matching distribution") as error:
        files.pinned_wheel("toy", "1.0", "0" * 64)
    one_line(error)


def test_a_disk_that_went_away_meanwhile_is_said_in_one_line(tmp_path):
    """The temporary file cannot be taken away either."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def write():
        with files.whole_file(disk / "a.bin") as temporary:
            temporary.write_bytes(b"content")
            disk.rename(tmp_path / "gone")
            disk.write_text("no folder any more")

    with pytest.raises(FileError, match=r"a\.bin: cannot be written \(Not a directory\)") as error:
        write()
    one_line(error)


@pytest.fixture
def steps(monkeypatch):
    """What is brought to disk and what gets its name, in order; files by their inode, since handles have no names."""
    noted = []

    def noting(name, call):
        def noted_call(file, *to):
            noted.append((name, os.stat(file).st_ino))
            call(file, *to)

        return noted_call

    for name in ("fsync", "rename", "replace"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    return noted


def test_a_file_is_on_disk_before_it_takes_its_name(tmp_path, steps):
    files.write_bytes(tmp_path / "a", b"content")
    file, above = (tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino
    assert steps == [("fsync", file), ("replace", file), ("fsync", above)]


def test_all_of_a_folder_is_on_disk_before_it_takes_its_name(tmp_path, steps):
    """Its files, the folders in it, its own list of names; and the name itself after that."""
    with files.whole_folder(tmp_path / "run") as temporary:
        (temporary / "model").mkdir()
        (temporary / "model" / "weights").write_bytes(b"1")
        (temporary / "config").write_bytes(b"2")
    run = tmp_path / "run"
    own = {path.stat().st_ino for path in (run, *run.rglob("*"))}
    move = steps.index(("rename", run.stat().st_ino))
    assert {inode for what, inode in steps[:move] if what == "fsync"} >= own
    assert steps[move + 1 :] == [("fsync", tmp_path.stat().st_ino)]


@pytest.mark.outside("process")
def test_a_forked_process_has_locks_of_its_own(tmp_path):
    """As workers that read data are, from a process that has filled a cache."""
    with files.one_process_at_a_time(tmp_path / "thing"):
        pass
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with files.one_process_at_a_time(tmp_path / "thing") as held:
                code = 0 if held else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.outside("process")
def test_who_does_not_wait_for_a_lock_is_told_and_who_waits_is_heard(tmp_path, capfd):
    """The child holds it until it is let go on; who waits gets it then."""
    go_on, held = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        with files.one_process_at_a_time(tmp_path / "thing"):
            os.write(held[1], b"1")
            os.read(go_on[0], 1)
        os._exit(0)
    os.read(held[0], 1)
    with files.one_process_at_a_time(tmp_path / "thing", wait=False) as ours:
        assert not ours
    assert capfd.readouterr().err == ""
    threading.Timer(1.5, os.write, (go_on[1], b"1")).start()
    with files.one_process_at_a_time(tmp_path / "thing") as ours:
        assert ours
    assert f"Waiting for another process that fills {tmp_path / 'thing'}" in capfd.readouterr().err
    os.waitpid(pid, 0)
    assert os.listdir(tmp_path) == []


def test_a_new_name_is_new(tmp_path):
    files.check_new(tmp_path / "x")
    (tmp_path / "x").write_text("")
    with pytest.raises(FileError, match="x: exists already"):
        files.check_new(tmp_path / "x")
    with pytest.raises(FileError, match="File name too long"):
        files.check_new(tmp_path / ("x" * 300))


def test_a_folder_is_made_with_all_above_it_and_may_be_there(tmp_path):
    for _ in range(2):
        assert files.make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        files.make_folder(tmp_path / "file" / "b")


def test_only_what_killed_writers_left_is_swept(tmp_path):
    left = [".a.0123456789ab.tmp", ".a[1].0123456789ab.tmp", ".b.abcdefabcdef.tmp"]
    stays = ["a", ".a.tmp", ".a.0123456789.tmp", "a.0123456789ab.tmp"]
    for name in [*left[:2], *stays]:
        (tmp_path / name).write_text("")
    (tmp_path / left[2]).mkdir()
    (tmp_path / left[2] / "half").write_text("")
    files.sweep(tmp_path, "a[1]")
    assert sorted(os.listdir(tmp_path)) == sorted([left[0], left[2], *stays])
    files.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(stays)


def test_what_is_set_aside_takes_the_place_of_an_earlier_one(tmp_path):
    for content in "ab":
        (tmp_path / "file").write_text(content)
        assert files.set_aside(tmp_path / "file").read_text() == content
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / content).write_text("")
        assert os.listdir(files.set_aside(tmp_path / "folder")) == [content]
    assert sorted(os.listdir(tmp_path)) == ["file.damaged", "folder.damaged"]


def test_a_folder_without_a_manifest(tmp_path):
    with files.whole_folder(tmp_path / "x", manifest=False) as temporary:
        (temporary / "a").write_text("")
    assert os.listdir(tmp_path / "x") == ["a"]


def test_a_manifest_leaves_out_what_is_half_written(saved):
    (saved / "deep" / ".x.0123456789ab.tmp").write_text("")
    files.write_manifest(saved)
    assert sorted(files.check_manifest(saved)) == ["deep/config.json", "model.safetensors"]


def test_a_cache_may_be_named_from_home_and_needs_one(tmp_path, environ, monkeypatch):
    environ(POLYPROMPT_CACHE="~/x", HOME=tmp_path)
    assert files.cache_folder("a") == tmp_path / "x" / "a"
    environ(POLYPROMPT_CACHE=None, XDG_CACHE_HOME=None)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(CacheError, match="no home folder"):
        files.cache_folder("a")


def test_a_cache_in_nobodys_home_folder(environ, tmp_path):
    environ(POLYPROMPT_CACHE="~no-such-user/x")
    with pytest.raises(CacheError, match="POLYPROMPT_CACHE is ~no-such-user/x, and nobody") as error:
        files.cache_folder("a")
    one_line(error)
    files.write_bytes(tmp_path / "a", b"")  # which needs no cache


def test_a_foreign_folder_in_a_caches_place_is_set_aside_and_said(capsys):
    folder = files.make_folder(files.cache_folder("x") / "thing")
    (folder / "theirs").write_text("")
    files.built_once(folder, Builder(), "Building")
    assert "It is only a cache: set aside as thing.damaged" in capsys.readouterr().err
    assert os.listdir(folder.with_name("thing.damaged")) == ["theirs"]
