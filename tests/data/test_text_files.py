"""A text file is read, or it is one line why not."""

import os

import pytest

from polyprompt.data.text_files import text_in
from polyprompt.errors import DataError


def test_what_a_text_file_says(tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\na\x0bb\n")
    assert text_in(tmp_path / "x") == "café\na\x0bb\n"


def test_what_is_no_text_file(tmp_path):
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    os.mkfifo(tmp_path / "pipe")
    for name, says in [
        ("none", "no such file$"),
        ("latin", "byte 3 is not UTF-8; save it as UTF-8$"),
        ("pipe", r"cannot be read \(not a regular file\)$"),
        ("", r"cannot be read \(Is a directory\)$"),
    ]:
        with pytest.raises(DataError, match=says):
            text_in(tmp_path / name)
