"""A piece is a safetensors file called by its hash; the safetensors library reads what was written."""

import hashlib
import json
import os

import pytest
import torch
from safetensors import safe_open

from polyprompt.disk import pieces
from polyprompt.disk.numbers import encode
from polyprompt.disk.pieces import DamagedPieceError, Stamps, open_piece, write_piece
from polyprompt.errors import FileError

ITEMS = [torch.randn(count, 6, generator=torch.Generator().manual_seed(count)) for count in (2, 1, 3)]
KEYS = [hashlib.sha256(bytes([number])).digest() for number in range(3)]


def written(folder, dtype="fp32"):
    return write_piece(folder, KEYS, [len(one) for one in ITEMS], [encode(one, dtype) for one in ITEMS], 6, dtype)


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_what_is_written_is_read_by_us_and_by_the_library(dtype, tmp_path):
    path = written(tmp_path, dtype)
    assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()
    with safe_open(path, "pt") as theirs:
        assert theirs.get_tensor("lengths").tolist() == [2, 1, 3]
        assert [bytes(row.tolist()) for row in theirs.get_tensor("keys")] == KEYS
        rows = theirs.get_tensor("rows")
        assert json.loads(theirs.metadata()["polyprompt"]) == {"dtype": dtype, "width": 6}
    piece = open_piece(path)
    torch.testing.assert_close(piece.encoded(), rows, rtol=0, atol=0)
    close = {"rtol": 1e-3, "atol": 1e-3} if dtype == "fp16" else {"rtol": 0, "atol": 0}
    for number, item in enumerate(ITEMS):
        torch.testing.assert_close(piece.read(number), item, **close)
        torch.testing.assert_close(piece.read(number, [0, 0]), item[[0, 0]], **close)
    assert [key.tobytes() for key in piece.keys] == KEYS


def test_rows_in_other_parts_are_the_same_file(tmp_path):
    whole = torch.cat(ITEMS)
    for name in "xy":
        (tmp_path / name).mkdir()
    assert write_piece(tmp_path / "x", KEYS, [2, 1, 3], [whole], 6, "fp32").name == written(tmp_path / "y").name


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\xff" * 16, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}"])
def test_another_kind_of_file_is_damage(data, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(DamagedPieceError):
        open_piece(tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError):
        open_piece(tmp_path / "gone.safetensors")


def test_a_piece_that_was_cut_since_is_told(tmp_path):
    piece = open_piece(path := written(tmp_path))
    piece.check_size()
    os.truncate(path, 10)
    with pytest.raises(FileError, match=r"has 10 bytes, and had \d+ when it was opened"):
        piece.check_size()
    path.unlink()
    piece.check_size()  # what is mapped stays


def test_a_stamp_is_believed_until_the_file_is_touched(tmp_path):
    path = written(tmp_path)
    long_ago = path.stat().st_mtime - 1000
    os.utime(path, (long_ago, long_ago))
    stamps = Stamps(tmp_path)
    stamps.check(path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedPieceError, match="other bytes than its name says"):
        stamps.check(path)
    (tmp_path / stamps.path.name).write_text("{")
    assert Stamps(tmp_path).known == {}  # a damaged note costs time alone


def test_numbers_stand_where_their_kind_may_and_an_items_bytes_are_its_rows(tmp_path):
    path = written(tmp_path)
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0
    piece = open_piece(path)
    assert [piece.raw(number) for number in range(3)] == [item.numpy().tobytes() for item in ITEMS]
    assert piece.size == path.stat().st_size


def test_stamps_are_kept_of_what_is_there_and_has_rested(tmp_path, monkeypatch):
    path = written(tmp_path)
    stamps = Stamps(tmp_path)
    stamps.check(path)  # just written: it may change again within a tick
    stamps.keep({path.name})
    assert not stamps.path.exists()
    monkeypatch.setattr(pieces, "SETTLED", -1)
    stamps.check(path)
    stamps.keep({path.name})
    before = stamps.path.stat().st_mtime_ns
    assert list(Stamps(tmp_path).known) == [path.name]
    stamps.keep({path.name})  # nothing is new
    assert stamps.path.stat().st_mtime_ns == before
    monkeypatch.setattr(pieces, "sha256", lambda path: "other")
    Stamps(tmp_path).check(path)  # believed
    believing = Stamps(tmp_path)
    with pytest.raises(DamagedPieceError):
        believing.check(path, again=True)
    believing.keep({path.name})
    assert Stamps(tmp_path).known == {}
