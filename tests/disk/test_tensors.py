"""Tensors are read whatever the file is called, and what is no file of them is one line."""

import os

import pytest
import torch
from safetensors.torch import save_file

from polyprompt.disk.tensors import is_utf8, read_tensors
from polyprompt.errors import FileError


@pytest.mark.parametrize("folder", ["plain", "café", "caf\udce9", "\udcff"])
def test_a_file_in_a_folder_of_any_name(tmp_path, folder):
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7)}
    (tmp_path / folder).mkdir()
    save_file(tensors, tmp_path / folder / "x.safetensors")
    found = read_tensors(tmp_path / folder / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert is_utf8(folder) == (folder in ("plain", "café"))


@pytest.mark.parametrize("name", ["x", "\udcff"])
def test_what_is_no_such_file(tmp_path, name):
    with pytest.raises(FileError, match="cannot be read"):
        read_tensors(tmp_path / name)
    (tmp_path / name).write_bytes(b"12345678")
    with pytest.raises(FileError, match="damaged, or no file of tensors"):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("name", ["x", "\udcff"])
def test_what_nobody_writes_to_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileError, match=r"cannot be read \(not a regular file\)"):
        read_tensors(tmp_path / name)
