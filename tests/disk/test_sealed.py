"""A sealed file: every altered byte of it, and of what it stands for, is noticed and named."""

import json

import pytest

from polyprompt.disk.files import write_json
from polyprompt.disk.sealed import is_sealed, read_sealed, write_sealed
from polyprompt.errors import FileError

CONTENT = {"name": "caf\udce9", "rate": 1e-05, "scores": {"a test": {"recall@1": 0.25}}, "seed": None}
BESIDE = ["config.json", "log.jsonl"]


@pytest.fixture
def sealed(tmp_path):
    (tmp_path / "config.json").write_text('{"rate": 0.1}')
    write_sealed(tmp_path / "results.json", CONTENT, BESIDE)
    return tmp_path / "results.json"


def test_what_was_written_is_read(sealed):
    assert read_sealed(sealed, "") == CONTENT


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_noticed(sealed, bit):
    data = sealed.read_bytes()
    for place in range(bit, len(data), 5):
        sealed.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        with pytest.raises(FileError, match=r"results\.json: damaged"):
            read_sealed(sealed, "")


def test_the_same_values_said_otherwise_are_noticed_too(sealed):
    for spaces in (None, 4):
        sealed.write_text(json.dumps(json.loads(sealed.read_text()), indent=spaces))
        with pytest.raises(FileError, match=r"does not have the hash that it names\. Do this\.$"):
            read_sealed(sealed, "Do this.")


@pytest.mark.parametrize("name", BESIDE)
def test_what_it_stands_for_is_named(sealed, name):
    """One file that was there is altered, or goes; one that was not appears."""
    path = sealed.with_name(name)
    for altered in ("{}", "altered again"):
        path.write_text(altered)
        with pytest.raises(FileError, match=rf"{name}: damaged or altered, its hash is not the one that results\.json"):
            read_sealed(sealed, "")
    path.unlink()
    if name == "config.json":
        with pytest.raises(FileError, match=r"config\.json: damaged or altered"):
            read_sealed(sealed, "")
    else:
        read_sealed(sealed, "")


def test_files_of_earlier_versions_are_read_and_it_is_said(tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"kind": "align"}))
    assert read_sealed(path, "") == read_sealed(path, "") == {"kind": "align"}
    assert capsys.readouterr().err.count("did not seal it") == 1
    for half in ({"kind": "align", "files": {}}, {"kind": "align", "sha256": "0"}, ["kind"]):
        path.write_text(json.dumps(half))
        with pytest.raises(FileError, match="damaged"):
            read_sealed(path, "")


def test_a_seal_that_was_taken_away_is_missed(sealed):
    """Where what lies beside a file shows that it had one."""
    assert is_sealed(sealed)
    assert read_sealed(sealed, "", sealed=True) == CONTENT
    write_json(sealed, CONTENT)
    assert not is_sealed(sealed)
    with pytest.raises(FileError, match=r"results\.json: altered, it was written with a hash .* Do this\.$"):
        read_sealed(sealed, "Do this.", sealed=True)
    for other in ("{", "[]"):
        sealed.write_text(other)
        assert not is_sealed(sealed)
    assert not is_sealed(sealed.with_name("none"))


@pytest.mark.parametrize("name", ["files", "sha256"])
def test_the_seals_own_names_are_not_the_contents(tmp_path, name):
    with pytest.raises(AssertionError, match="own names"):
        write_sealed(tmp_path / "x.json", {name: 1})


def test_a_seal_without_its_list_of_files_is_refused(sealed):
    content = json.loads(sealed.read_text())
    for files in (None, [], "x"):
        sealed.write_text(json.dumps(content | {"files": files}))
        with pytest.raises(FileError, match="damaged or altered"):
            read_sealed(sealed, "")
