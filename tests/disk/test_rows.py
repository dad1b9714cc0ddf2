"""A store of rows against a dict: appended to, opened again, killed, damaged, filled by several at once."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from safetensors.torch import load_file
from toy_rows import fills, reads_where_nobody_may_write, rows_of

from polyprompt.disk import pieces
from polyprompt.disk import rows as module
from polyprompt.disk.files import write_json
from polyprompt.disk.numbers import encode
from polyprompt.disk.rows import PARTS, RowStore, check_room, fill, item_key, kept_folder
from polyprompt.errors import CacheError, FileError

KEYS = [f"{'x' * (i % 4)}{i}" for i in range(12)]

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def filled(tmp_path):
    """A store of three pieces with four items each."""
    store = RowStore(tmp_path / "store")
    for at in range(0, 12, 4):
        store.append(KEYS[at : at + 4], [rows_of(key) for key in KEYS[at : at + 4]])
    return store


def files_of(store, suffix=".safetensors"):
    return sorted(store.folder.glob(f"*{suffix}"))


def flip(path, bit, *, keep_dates=True):
    """Flips one bit of a file, in place, and puts its dates back."""
    state, data = path.stat(), bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)
    if keep_dates:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def stamp(path):
    """What the store notes of a piece whose hash it found right."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def agrees(store, keys):
    """What the store has of these keys is right; the keys that it has not."""
    lacking = {keys[place] for place in store.missing(keys)}
    there = [key for key in keys if key not in lacking]
    found = store.find(there)
    for item, key in enumerate(there):
        assert torch.equal(found.read(item), rows_of(key)), key
    return lacking


# Any sequence of events


class Store(RuleBasedStateMachine):
    """Two stores open on one folder, beside the set of keys that must be there."""

    @initialize()
    def begin(self):
        self.place = Path(tempfile.mkdtemp())
        self.folder = self.place / "store"
        self.computed = []
        self.safe = set()
        self.stores = [RowStore(self.folder), RowStore(self.folder)]

    def teardown(self):
        shutil.rmtree(self.place)

    @rule(which=st.integers(0, 1), keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=8))
    def fills(self, which, keys):
        asked = []

        def compute(items):
            asked.extend(keys[item] for item in items)
            return [[rows_of(keys[item]) for item in items]]

        fill([self.stores[which]], keys, compute, "Toys")
        assert len(asked) == len(set(asked))
        assert not set(asked) & self.safe, "computed again"
        assert not agrees(self.stores[which], keys)
        self.safe |= set(keys)

    @rule(which=st.integers(0, 1), key=st.sampled_from(KEYS))
    def appends_without_looking(self, which, key):
        self.stores[which].append([key], [rows_of(key)])
        self.safe.add(key)

    @rule(which=st.integers(0, 1))
    def opens_again(self, which):
        self.stores[which] = RowStore(self.folder)

    @rule(size=st.integers(0, 300))
    def is_killed_while_writing(self, size):
        self.folder.mkdir(exist_ok=True)
        (self.folder / f".{'0' * 64}.safetensors.0123456789ab.tmp").write_bytes(bytes(size))

    def files(self):
        return sorted(path for path in self.folder.glob("*") if path.is_file()) if self.folder.exists() else []

    @precondition(lambda self: self.files())
    @rule(data=st.data())
    def is_damaged(self, data):
        path = data.draw(st.sampled_from(self.files()))
        match data.draw(st.sampled_from(["flip", "cut", "empty", "gone"])):
            case "flip" if path.stat().st_size:
                flip(path, data.draw(st.integers(0, 8 * path.stat().st_size - 1)))
            case "cut":
                os.truncate(path, data.draw(st.integers(0, path.stat().st_size)))
            case "empty":
                path.write_bytes(b"")
            case _:
                path.unlink()
        self.stores = [RowStore(self.folder), RowStore(self.folder)]
        self.safe -= agrees(self.stores[0], KEYS)

    @invariant()
    def nothing_is_lost_and_nothing_is_wrong(self):
        assert not agrees(RowStore(self.folder), KEYS) & self.safe


Store.TestCase.settings = settings(
    max_examples=40, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnySequence = Store.TestCase


# One by one


def test_items_are_found_in_any_order_and_in_part(filled):
    again = RowStore(filled.folder)
    assert len(again) == 12
    assert KEYS[3] in again
    assert "other" not in again
    found = again.find([KEYS[7], KEYS[9], KEYS[7]])
    assert torch.equal(found.read(0), rows_of(KEYS[7]))
    assert torch.equal(found.read(1, [2, 0]), rows_of(KEYS[9])[[2, 0]])
    assert torch.equal(found.read(2), found.read(0))


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_every_format_is_kept(tmp_path, dtype):
    numbers = torch.randn(5, 70)
    store = RowStore(tmp_path / "store", dtype)
    store.append(["a", "b"], [numbers[:2], numbers[2:]])
    found = RowStore(tmp_path / "store").find(["b"]).read(0)
    torch.testing.assert_close(found, numbers[2:], rtol=0.02, atol=0.02 * float(numbers.abs().max()))


def test_what_is_missing_is_computed_and_kept(tmp_path, capsys):
    asked = []

    def compute(items):
        asked.append(items)
        return [rows_of(names[item]) for item in items]

    names = ["cat", "dog", "cat"]
    first = RowStore(tmp_path / "store").get(names, compute, "Teacher")
    assert all(torch.equal(row, rows_of(name)) for row, name in zip(first, names, strict=True))
    names = ["dog", "emu"]
    second = RowStore(tmp_path / "store").get(names, compute, "Teacher")
    assert torch.equal(second[0], first[1])
    assert asked == [[0, 1], [1]]
    told = f"Teacher: {{}} to compute in {tmp_path / 'store'}"
    assert [line for line in capsys.readouterr().err.splitlines() if "to compute" in line] == [
        f"polyprompt: {told.format(number)}" for number in (2, 1)
    ]


def test_no_item_is_written_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "PIECE_BYTES", 1)  # a piece for each batch
    store = RowStore(tmp_path / "store")
    store.get(KEYS, lambda items: [rows_of(KEYS[item]) for item in items], "Toys")
    assert [len(piece.keys) for piece in store.pieces()] == [2] * 6
    assert not agrees(RowStore(store.folder), KEYS)


def test_what_another_process_computes_meanwhile_counts_as_done(tmp_path, monkeypatch):
    store, advances = RowStore(tmp_path / "store"), []

    @contextlib.contextmanager
    def progress(what, count):
        RowStore(store.folder).append(KEYS[:5], [rows_of(key) for key in KEYS[:5]])
        yield advances.append

    monkeypatch.setattr(module, "progress", progress)
    computed = []
    store.get(KEYS, lambda items: computed.extend(items) or [rows_of(KEYS[item]) for item in items], "Toys")
    assert sorted(computed) == [*range(5, 12)]
    assert sum(advances) == 12


def test_an_interruption_keeps_what_was_computed(tmp_path):
    done = []

    def compute(items):
        if done:
            raise KeyboardInterrupt
        done.extend(items)
        return [[rows_of(str(item)) for item in items]]

    keys = [str(i) for i in range(100)]
    with pytest.raises(KeyboardInterrupt):
        fill([RowStore(tmp_path / "store")], keys, compute, "Toys")
    assert len(done) == 64
    assert RowStore(tmp_path / "store").missing(keys) == sorted({*range(100)} - {*done})


def test_several_stores_are_brought_to_their_end_together(tmp_path):
    stores = [RowStore(tmp_path / name) for name in "ab"]
    stores[1].append(KEYS[2:4], [2 * rows_of(key) for key in KEYS[2:4]])
    asked = []

    def compute(items):
        asked.extend(items)
        return [[factor * rows_of(KEYS[item]) for item in items] for factor in (1, 2)]

    fill(stores, KEYS, compute, "Toys")
    assert asked == list(range(12))
    fill(stores, KEYS, compute, "Toys")
    assert len(asked) == 12
    for store, factor in zip(stores, (1, 2), strict=True):
        assert len(store) == sum(len(pieces.open_piece(path).keys) for path in files_of(store)) == 12
        assert torch.equal(store.find(KEYS).read(5), factor * rows_of(KEYS[5]))


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_a_piece_is_a_safetensors_file(tmp_path, dtype):
    store, numbers = RowStore(tmp_path / "store", dtype), torch.randn(5, 33)
    store.append(["a", "b"], [numbers[:2], numbers[2:]])
    (path,) = files_of(store)
    tensors = load_file(path)
    assert tensors["lengths"].tolist() == [2, 3]
    assert bytes(tensors["keys"][1].tolist()) == hashlib.sha256(b"b").digest()
    assert torch.equal(tensors["rows"], encode(numbers, dtype))
    assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_a_killed_writer_left_is_cleared(filled):
    left = filled.folder / f".{'0' * 64}.safetensors.0123456789ab.tmp"
    left.write_bytes(b"half a piece")
    RowStore(filled.folder)
    assert left.exists()  # it may be another's, who is writing
    filled.get(["more"], lambda items: [rows_of("more")], "Toys")
    assert not left.exists()


# Damage


@pytest.mark.parametrize("harm", ["cut", "flip", "brackets", "empty"])
@pytest.mark.parametrize("name", [pieces.STAMPS, "piece"])
def test_a_damaged_file_is_healed(filled, harm, name, capsys):
    write_json(filled.folder / pieces.STAMPS, {path.name: stamp(path) for path in files_of(filled)})
    path = files_of(filled)[1] if name == "piece" else filled.folder / name
    match harm:
        case "cut":
            os.truncate(path, path.stat().st_size // 2)
        case "flip":
            flip(path, 8 * (path.stat().st_size // 2))
        case "brackets":
            path.write_bytes(b"[" * 100_000)
        case "empty":
            path.write_bytes(b"")
    again = RowStore(filled.folder)
    assert len(agrees(again, KEYS)) == (4 if name == "piece" else 0)
    fill([again], KEYS, lambda items: [[rows_of(KEYS[item]) for item in items]], "Toys")
    assert not agrees(RowStore(filled.folder), KEYS)
    message = capsys.readouterr().err
    assert ("set aside" in message) == (name == "piece")
    assert path.with_name(path.name + ".damaged").exists() == (name == "piece")


def test_a_damaged_piece_that_cannot_be_renamed_is_passed_over(filled, monkeypatch, capsys):
    def refused(path):
        raise PermissionError

    monkeypatch.setattr(module, "set_aside", refused)
    path = files_of(filled)[1]
    os.truncate(path, 9)
    assert len(RowStore(filled.folder).missing(KEYS)) == 4
    assert f"{path} is damaged (" in (told := capsys.readouterr().err)
    assert told.endswith("): passed over, and computed again.\n")


def test_every_flipped_bit_of_a_piece_is_found(tmp_path, capsys):
    store = RowStore(tmp_path / "store")
    store.append(KEYS[:2], [rows_of(key) for key in KEYS[:2]])
    (path,) = files_of(store)
    good = path.read_bytes()
    for bit in range(0, 8 * len(good), 37):
        flip(path, bit)
        assert RowStore(store.folder).missing(KEYS[:2]) == [0, 1]
        path.write_bytes(good)
    assert capsys.readouterr().err.count("\n") == len(range(0, 8 * len(good), 37))


def test_stamps_save_the_hashing_and_a_check_does_not_believe_them(filled, capsys):
    path = files_of(filled)[0]
    RowStore(filled.folder)
    assert not (filled.folder / pieces.STAMPS).exists()  # too young: a change in the same tick would go unseen
    time.sleep(1.05 * pieces.SETTLED / 1e9)
    RowStore(filled.folder)
    stamps = json.loads((filled.folder / pieces.STAMPS).read_text())
    assert stamps == {path.name: stamp(path) for path in files_of(filled)}
    flip(path, 8 * (path.stat().st_size - 33 * 4))  # in the rows, in front of four keys
    stamps[path.name] = stamp(path)  # as if the disk itself had done it
    write_json(filled.folder / pieces.STAMPS, stamps)
    believed = RowStore(filled.folder)
    assert believed.missing(KEYS) == []
    believed.check()
    assert len(believed.missing(KEYS)) == 4
    assert "set aside" in capsys.readouterr().err
    del stamps[path.name]
    assert json.loads((filled.folder / pieces.STAMPS).read_text()) == stamps
    assert len(RowStore(filled.folder)) == 8


def test_truth_is_refused_when_damaged(tmp_path):
    folder = tmp_path / "store"
    store = RowStore(folder, truth=True)
    for key in KEYS[:3]:
        store.append([key], [rows_of(key)])
    assert not agrees(RowStore(folder, truth=True), KEYS[:3])
    for path in [*files_of(store), folder / module.NAMES]:
        good = path.read_bytes()
        flip(path, 8 * (len(good) // 2))
        with pytest.raises(FileError, match=path.name) as error:
            RowStore(folder, truth=True)
        assert "\n" not in str(error.value)
        path.unlink()
        with pytest.raises(FileError, match=path.name):
            RowStore(folder, truth=True)
        path.write_bytes(good)
    assert not list(folder.glob("*.damaged"))
    assert not agrees(RowStore(folder, truth=True), KEYS[:3])


def test_truth_that_was_killed_between_a_piece_and_its_name_is_whole(tmp_path):
    store = RowStore(tmp_path / "store", truth=True)
    store.append([KEYS[0]], [rows_of(KEYS[0])])
    RowStore(store.folder).append([KEYS[1]], [rows_of(KEYS[1])])  # a piece that is not named yet
    again = RowStore(store.folder, truth=True)
    assert not agrees(again, KEYS[:2])
    again.append([KEYS[2]], [rows_of(KEYS[2])])
    names = json.loads((store.folder / module.NAMES).read_text())["pieces"]
    assert set(names) == {path.name for path in files_of(store)}


def test_small_pieces_of_truth_become_one_and_keep_their_order(tmp_path, monkeypatch):
    store = RowStore(tmp_path / "store", truth=True)
    store.merge()  # of nothing
    for key in KEYS[:5]:
        store.append([key], [rows_of("xx")])  # of one size
    names = [piece.path.name for piece in store.pieces()]
    monkeypatch.setattr(module, "PIECE_BYTES", 2 * store.pieces()[0].rows.nbytes)
    store.merge()
    pieces = store.pieces()
    assert [len(piece.keys) for piece in pieces] == [2, 2, 1]
    assert [key.tobytes() for piece in pieces for key in piece.keys] == [item_key(key) for key in KEYS[:5]]
    assert pieces[2].path.name == names[4]  # as it was
    assert len(files_of(store)) == 3
    for one in (store, RowStore(store.folder, truth=True)):
        assert [piece.path.name for piece in one.pieces()] == [piece.path.name for piece in pieces]
        found = one.find(KEYS[:5])
        assert all(torch.equal(found.read(item), rows_of("xx")) for item in range(5))
    listed = (store.folder / module.NAMES).stat().st_mtime_ns
    store.merge()  # nothing is small any more
    assert (store.folder / module.NAMES).stat().st_mtime_ns == listed


def test_a_cache_has_no_list_of_its_pieces(filled):
    assert not (filled.folder / module.NAMES).exists()
    assert not RowStore(filled.folder, truth=False).missing(KEYS)


# Room


def test_a_cache_over_its_cap_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    check_room(tmp_path, 2_000_000_000, 0, 2.0)
    with pytest.raises(CacheError, match=r"would take 3.0 GB, its cap is 2 GB"):
        check_room(tmp_path, 3_000_000_000, 0, 2.0)
    with pytest.raises(CacheError, match=r"would take 9000000000.0 GB, .* GB left"):
        check_room(tmp_path, 0, 9 * 10**18, 2.0)
    with pytest.raises(CacheError, match=r"its cap is 1e-08 GB"):
        fill([RowStore(tmp_path / "s")], ["a", "b", "a"], lambda _: [], "Toys", sizes=[6, 6, 6], cap_gb=1e-8)
    fill([RowStore(tmp_path / "s")], ["a", "a"], lambda _: [[rows_of("a")]], "Toys", sizes=[6, 6], cap_gb=1e-8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=7))
    check_room(tmp_path, 8, 7, 2.0)
    with pytest.raises(CacheError, match=r"0\.0 GB left"):
        check_room(tmp_path, 8, 8, 2.0)


def test_a_full_disk_gives_one_line_and_what_is_kept_stays():
    """The first 64 items are a piece of 65 MB; the next ones would be one of 102 MB."""
    store, sizes = RowStore(kept_folder("toys")), chain([65_000_000], repeat(102_000_000))

    def compute(items):
        return [[torch.ones(next(sizes) // 4 // len(items), 1)] * len(items)]

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000_000, before[1]))
    try:
        with pytest.raises(CacheError, match=r"File too large.*Free some room.*POLYPROMPT_CACHE") as error:
            fill([store], [str(i) for i in range(128)], compute, "Toys")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert len(RowStore(store.folder)) == 64
    assert not list(store.folder.glob(".*"))


def test_pieces_can_be_read_by_whom_the_umask_lets(filled):
    other = filled.folder / "plain"
    other.write_text("")
    assert {path.stat().st_mode for path in files_of(filled)} == {other.stat().st_mode}


# Several processes


def race(start, folder, draw, *, killed):
    """Two processes on a cold store, the second a little later; the first one may be killed on its way."""
    keys = [f"{'k' * draw.randrange(3)}{i}" for i in range(40)]
    log = folder.with_suffix(".log")
    dies_after = draw.randrange(1, 9) if killed else None
    both = {"folder": folder, "log": log, "wait": 0.002}
    (first,) = start(fills, keys=keys, dies_after=dies_after, **both)
    (second,) = start(fills, keys=keys[10:] + keys[:5], dies_after=None, **both)
    first.join(60)
    second.join(60)
    assert second.exitcode == 0
    computed = log.read_text().split()
    if first.exitcode == 0:
        assert sorted(computed) == sorted(keys)  # each once
        assert not agrees(RowStore(folder), keys)
    else:
        assert (first.exitcode, killed) == (-signal.SIGKILL, True)
        assert len(computed) - len(set(computed)) <= 4  # what was on its way
    assert not list(folder.glob(".*.tmp"))
    return first.exitcode


@pytest.mark.parametrize("killed", [False, True])
def test_two_processes_on_a_cold_store_do_the_work_once(start_processes, tmp_path, killed):
    for number in range(3):
        race(start_processes, tmp_path / f"store-{number}", random.Random(number), killed=killed)


def test_two_processes_share_what_is_to_be_computed(start_processes, tmp_path):
    keys, logs = [str(i) for i in range(40)], [tmp_path / "first", tmp_path / "second"]
    both = multiprocessing.get_context("forkserver").Barrier(2)
    how = {"folder": tmp_path / "store", "keys": keys, "dies_after": None, "wait": 0.002, "both": both}
    started = [start_processes(fills, log=log, **how) for log in logs]
    for (process,) in started:
        process.join(60)
        assert process.exitcode == 0
    done = [log.read_text().split() for log in logs]
    assert sorted([*done[0], *done[1]]) == sorted(keys)


def test_a_part_that_another_is_at_holds_up_nothing_else(start_processes, tmp_path):
    """Though it would all be computed together: the second comes to its first piece while the first is at one."""
    keys, logs = [str(i) for i in range(40)], [tmp_path / "first", tmp_path / "second"]
    both = multiprocessing.get_context("forkserver").Barrier(2)
    how = {"folder": tmp_path / "store", "dies_after": None, "wait": 0.0, "both": both, "at_once": 1000}
    part = [key for key in keys if item_key(key)[0] % PARTS == 3]
    (first,) = start_processes(fills, keys=part, log=logs[0], **how)
    while not logs[0].exists():
        time.sleep(0.01)
    left_over = tmp_path / "store" / ".x.0123456789ab.tmp"
    left_over.touch()
    (second,) = start_processes(fills, keys=keys, log=logs[1], **how)
    for process in (first, second):
        process.join(90)
        assert process.exitcode == 0
    assert not left_over.exists()  # the second clears up when it is alone
    assert logs[0].read_text().split() == part
    assert sorted([*part, *logs[1].read_text().split()]) == sorted(keys)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_pairs_on_cold_stores(start_processes, tmp_path):
    ends = [
        race(start_processes, tmp_path / f"store-{number}", random.Random(number), killed=bool(number % 2))
        for number in range(200)
    ]
    assert ends.count(0) >= 100
    assert ends.count(-signal.SIGKILL) >= 50


def test_where_nobody_may_write_what_is_kept_is_read(run_processes, filled, tmp_path):
    for folder in [filled.folder, *filled.folder.parents][:-2]:
        folder.chmod(0o755)
    filled.folder.chmod(0o555)
    where = {"folder": filled.folder, "keys": KEYS, "answer": tmp_path / "answer"}
    assert run_processes(reads_where_nobody_may_write, **where) == [0]
    answer = (tmp_path / "answer").read_text()
    assert answer.startswith("FileError: ")
    assert "cannot be written (Permission denied" in answer
    assert "\n" not in answer


# Where rows are kept

VERSIONS = st.fixed_dictionaries(
    {
        name: st.builds("{}.{}.{}".format, st.integers(1, 2), st.integers(0, 20), st.integers(0, 9))
        for name in ("torch", "transformers", "timm", "open_clip_torch", "pillow")
    }
)
DETERMINED = st.lists(st.text("ab ", max_size=3), max_size=2)
"""With pairs as ("a b",) and ("a", "b"), which are not the same."""


@given(
    kind=st.sampled_from(["states", "sentences", "tokens", "pictures", "collections"]),
    parts=st.tuples(DETERMINED, DETERMINED),
    versions=st.tuples(VERSIONS, VERSIONS),
    same=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_share_a_folder_if_nothing_that_decides_the_rows_differs(installed, kind, parts, versions, same):
    """Major versions of the libraries among it; Pillow's too, but for texts, which it does not decode."""
    parts, versions = ((two[0], two[0]) if alike else two for two, alike in zip((parts, versions), same, strict=True))
    folders, decided = [], []
    for said, numbers in zip(parts, versions, strict=True):
        installed(**numbers)
        folders.append(kept_folder(kind, *said))
        majors = {name: number[0] for name, number in numbers.items()}
        if kind in ("states", "sentences"):
            del majors["pillow"]
        decided.append((said, majors))
    assert (folders[0] == folders[1]) == (decided[0] == decided[1])
