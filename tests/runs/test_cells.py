"""Results of a grid on disk: what decides a cell's name, and that an altered result is none."""

import json
import re
from dataclasses import replace

import pytest
from run_files import as_of_version
from toy_grid import result

from polyprompt.errors import FileError
from polyprompt.runs.cells import CELLS, FIGURES, done_in, read_result, results_in, write_result


@pytest.fixture
def written(tmp_path):
    """One result in a grid's folder."""
    one = result("coop", "pets", 1, {"test": 0.5})
    path = tmp_path / CELLS / f"{one.cell.name}.json"
    path.parent.mkdir()
    write_result(path, one)
    return one, path


def test_what_is_written_is_read(written, tmp_path):
    one, path = written
    assert read_result(path) == one
    assert results_in(tmp_path) == [one]
    (tmp_path / CELLS / f".{path.stem}").write_text("")  # on its way
    assert done_in(tmp_path) == {one.cell.name}
    assert done_in(tmp_path / "nowhere") == set()


def test_a_name_stands_for_what_decides_figures():
    """And not for where things lie, or what they are called in tables."""
    cell = result("coop", "pets", 1, {"test": 0.5}, epochs=3, max_bad=0).cell

    def other(**change):
        return replace(cell, **change).name != cell.name

    def other_setting(**change):
        return other(settings=cell.settings | change)

    assert not other(method="called otherwise", data="elsewhere/pets", encoder="elsewhere/toy")
    assert not other_setting(name="x", encoder="x", data="x", test="x", also=("x",), max_bad=9)
    assert not other_setting(epochs=3)
    assert other_setting(epochs=4)
    assert other(protocol="zero-shot")
    assert other(task="retrieve")
    assert other(inputs={"data": "other pictures"})
    assert other_setting(descriptions="said.json")  # by its place, where nothing says what stands in it
    described = replace(cell, inputs=cell.inputs | {"descriptions": "a hash"})
    there, elsewhere = (replace(described, settings=cell.settings | {"descriptions": place}) for place in ("a", "b"))
    assert there.name == elsewhere.name != cell.name


@pytest.mark.parametrize("spoil", ["figure", "cell", "json", "name", "version", "nothing of it"])
def test_altered_results_are_refused(written, tmp_path, spoil):
    _, path = written
    content = json.loads(path.read_text())
    if spoil == "figure":
        content["figures"]["classification"]["test"]["accuracy"] = 0.99
    if spoil == "cell":
        content["cell"]["method"] = "maple"
    if spoil == "version":
        content["figures_version"] = 0
    if spoil == "nothing of it":
        content = [1]
    path.write_text("{" if spoil == "json" else json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    if spoil == "name":
        path = path.rename(path.with_name("0" * 32 + ".json"))
    with pytest.raises(FileError, match=path.name):
        read_result(path)
    with pytest.raises(FileError, match=path.name):
        results_in(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"null", b"[" * 100_000, "nan"])
def test_damage_is_told_with_the_way_out(written, tmp_path, content):
    _, path = written
    if content == "nan":
        content = re.sub(rb'"seconds": [0-9.]+', b'"seconds": NaN', path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"damaged, this is no result of a grid\. Remove it; the next run makes it"):
        read_result(path)


def test_results_of_another_version_are_none_and_told(written, tmp_path, capsys):
    _, path = written
    as_of_version(path, FIGURES - 1)
    assert results_in(tmp_path) == []
    assert "1 result is of another figures version and left out" in capsys.readouterr().err
    with pytest.raises(FileError, match="not the folder of a grid"):
        results_in(tmp_path / CELLS)
