"""Under fire, counted: flips, kills, races, and calls that fail. benchmarks/reliability.py counts more of the same."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def place(tmp_path_factory, module_environ):
    """Toy towers and pictures, and the cache of this process in the same folder."""
    import toy_work

    place = tmp_path_factory.mktemp("place")
    module_environ(POLYPROMPT_CACHE=place / "cache", PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    toy_work.make_place(place)
    return place


# Calls that fail


needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler to make failing.c with")


def calls(place, *names) -> dict:
    from calls import run_preloaded

    found = {one["name"]: one for one in run_preloaded(place, names)}
    assert [one["notes"] for one in found.values() if one["wrong"]] == []
    assert all(one["told"] + one["done"] == one["calls"] > 0 for one in found.values())
    return found


@needs_cc
def test_each_call_of_the_writers_of_files_fails_once(tmp_path):
    """Old files stay, it is one line, nothing is left behind; only what is not needed may fail unsaid."""
    found = calls(tmp_path, "a file", "a sealed file")
    assert found["a file"]["failed"] == {"open": 2, "write": 1, "fsync": 2, "rename": 1}
    assert found["a file"]["done"] == 0


@needs_cc
@pytest.mark.slow
def test_each_call_of_every_writer_fails_once(tmp_path):
    """A minute."""
    from failing_work import HEAVY, WRITERS

    assert calls(tmp_path, *WRITERS, *HEAVY).keys() == {*WRITERS, *HEAVY}


@needs_cc
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_each_call_of_every_command_fails_once(tmp_path):
    """An hour."""
    from failing_work import COMMANDS

    assert calls(tmp_path, *COMMANDS).keys() == set(COMMANDS)


# Conditions


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_command_under_every_condition():
    """Two minutes. Disks of their own need root; pytest's own folders let nobody in."""
    from calls import run_alone
    from conditions import CONDITIONS
    from failing_work import COMMANDS

    wanted = [name for name, one in CONDITIONS.items() if os.geteuid() == 0 or not (one.room or "home" in name)]
    with tempfile.TemporaryDirectory() as place:
        found = run_alone("conditions.py", Path(place), wanted)
    assert len(found) == len(wanted) * len(COMMANDS)
    assert [one for one in found if one["wrong"]] == []


# Flips


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_flipped_bits_are_refused_or_mended(place, tmp_path):
    """Two minutes."""
    import toy_runs
    from flips import flip, kinds

    toy_runs.run(tmp_path / "run", place)
    for kind in kinds(tmp_path / "kinds", tmp_path / "run"):
        found, missed = flip(kind, 200)
        assert missed == []
        if "notes" not in kind.name:
            assert found["refused"] + found["mended"] == 200, kind.name


# Kills and races


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["align", "adapt", "grid", "index"])
def test_killed_work_ends_as_if_it_had_not_been(name, place, tmp_path):
    """Fifty kills each: a few minutes."""
    from kills import count_kills

    counted = count_kills(name, 50, place, tmp_path)
    assert counted.kills == 50
    assert counted.notes == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_pairs_on_one_cache_and_in_one_folder(place, tmp_path):
    """Twenty pairs each: minutes."""
    from races import into_one_folder, on_one_cache

    raced = [on_one_cache(20, tmp_path), *(into_one_folder(name, 20, place, tmp_path) for name in ("adapt", "align"))]
    for one in raced:
        assert (one.pairs, one.lost, one.doubled, one.wrong) == (20, 0, 0, 0), json.dumps(vars(one))


@pytest.mark.parametrize("kills", [12, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
def test_workers_of_one_grid_killed_and_stopped(tmp_path, environ, kills):
    """Nothing is lost, nothing is kept twice; whoever was stopped beyond the lease changes nothing."""
    from leases import count_leases

    environ(PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    counted = count_leases(kills, tmp_path)
    assert counted.notes == []
    assert (counted.kills, counted.stopped) == (kills, kills // 4)
    assert (counted.lost, counted.twice, counted.other) == (0, 0, 0)
    assert counted.results == counted.grids * 60
