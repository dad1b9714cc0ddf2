"""Checkpoints made to harm: nothing in them is called, none takes more than it has, each is one line."""

import io
import os
import pickle
import tracemalloc
import zipfile

import pytest
import torch
from harmful import torch_file, torch_file_before_1_6

from polyprompt.disk.foreign import BEFORE_1_6, _tensor, tensors_of
from polyprompt.errors import FileError


def test_a_pickle_cannot_change_the_functions_that_it_calls(tmp_path):
    """BUILD sets attributes on whatever stands on the stack, as `__defaults__` of a function."""
    code = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b."
    with pytest.raises(FileError, match="to be changed"):
        tensors_of(torch_file(tmp_path / "x.pt", code))
    assert _tensor.__defaults__ is None


def tensor_code(size, stride, numbers, dtype="HalfStorage", keys=("0",)):
    """A dict of tensors over storages of so many numbers."""
    code = b"\x80\x02}"
    for key in keys:
        code += b"X" + len(key).to_bytes(4, "little") + key.encode() + b"ctorch._utils\n_rebuild_tensor_v2\n("
        code += b"(X\x07\x00\x00\x00storagectorch\n" + dtype.encode() + b"\n"
        code += b"X" + len(key).to_bytes(4, "little") + key.encode() + b"X\x03\x00\x00\x00cpu"
        code += f"I{numbers}\n".encode() + b"tQ"
        for numbers_ in ((0,), size, stride):
            code += (b"(" if numbers_ != (0,) else b"") + b"".join(f"I{n}\n".encode() for n in numbers_)
            code += b"t" if numbers_ != (0,) else b""
        code += b"\x89ccollections\nOrderedDict\n)RtRs"
    return code + b"."


def test_a_pickle_cannot_change_a_tensor(tmp_path):
    """BUILD gives a tensor a state: another view of its numbers, with strides of 0 as large as one likes."""
    good = tensor_code((1,), (1,), 1)
    one = good[good.index(b"ctorch") : -2]
    build = b"(" + one + b"K\x00(M\x10\x27M\x10\x27t(K\x00K\x00ttb"
    with pytest.raises(FileError, match="a tensor that is to be changed"):
        tensors_of(torch_file(tmp_path / "x.pt", good[:-2] + build + b"s.", storages={"0": b"\0\0"}))


def test_the_writer_of_these_tests_writes_what_can_be_read(tmp_path):
    raw = torch.arange(6, dtype=torch.float16).numpy().tobytes()
    found = tensors_of(torch_file(tmp_path / "x.pt", tensor_code((2, 3), (3, 1), 6), storages={"0": raw}))
    assert found["0"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_two_bytes_do_not_stand_for_gigabytes(tmp_path):
    code = tensor_code((100_000, 100_000), (0, 0), 1)
    with pytest.raises(FileError, match="over 1 numbers"):
        tensors_of(torch_file(tmp_path / "x.pt", code, storages={"0": b"\0\0"}))


def test_a_packed_storage_is_refused_before_it_is_unpacked(tmp_path):
    code = tensor_code((10_000_000,), (1,), 10_000_000)
    path = torch_file(tmp_path / "x.pt", code, zipfile.ZIP_DEFLATED, {"0": bytes(20_000_000)})
    with pytest.raises(FileError, match="is packed, which torch's files are not"):
        tensors_of(path)


def test_members_that_share_bytes_are_counted(tmp_path):
    """A thousand names for one place in the file."""
    keys = [str(i) for i in range(50)]
    code = tensor_code((50_000,), (1,), 50_000, keys=keys)
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", code)
        archive.writestr("a/data/0", bytes(100_000))
        first = archive.getinfo("a/data/0")
        for key in keys[1:]:
            other = zipfile.ZipInfo(f"a/data/{key}")
            for field in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(other, field, getattr(first, field))
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other
        archive._didModify = True
    with pytest.raises(FileError):
        tensors_of(path)


@pytest.mark.parametrize("depth", [5_000, 200_000])
def test_mappings_in_mappings(tmp_path, depth):
    code = b"\x80\x02" + b"}X\x01\x00\x00\x00a" * depth + b"}" + b"s" * depth + b"."
    with pytest.raises(FileError, match="nested beyond all measure"):
        tensors_of(torch_file(tmp_path / "x.pt", code))


def test_a_mapping_that_holds_itself_or_doubles(tmp_path):
    with pytest.raises(FileError, match="nested beyond all measure"):
        tensors_of(torch_file(tmp_path / "x.pt", b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s."))
    inner: dict = {}
    for _ in range(60):
        inner = {"a": inner, "b": inner}
    with pytest.raises(FileError, match="nested beyond all measure"):
        tensors_of(torch_file(tmp_path / "y.pt", pickle.dumps(inner, 2)))


def test_what_torch_itself_pickles_of_ours_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/RAN",)

    file = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(2)}, "x": Evil()}, file)
    (tmp_path / "x.pth.tar").write_bytes(file.getvalue())
    with pytest.raises(FileError, match="nothing is executed"):
        tensors_of(tmp_path / "x.pth.tar")
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_what_nobody_writes_to_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileError, match=rf"{name}: cannot be read \(not a regular file\)"):
        tensors_of(tmp_path / name)


def old_file(path, content):
    """A file as torch wrote them before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def test_files_of_torch_before_1_6_are_read(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    content = {
        "whole": whole, "turned": whole.T, "part": whole[1:, ::2], "half": torch.ones(2, dtype=torch.float16),
        "bf16": torch.rand(3).bfloat16(), "numbers": torch.arange(5), "empty": torch.empty(0, 3),
        "one": torch.tensor(2.5), "learned": torch.nn.Parameter(torch.rand(2)),
    }  # fmt: skip
    found = tensors_of(old_file(tmp_path / "x.pth.tar", {"state_dict": content, "epoch": 3}))
    assert list(found) == list(content)
    for name, tensor in content.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_files_of_torch_before_1_6_run_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/RAN",)

    with pytest.raises(FileError, match=r"calls (posix|nt)\.system.*nothing is executed"):
        tensors_of(old_file(tmp_path / "x.pt", {"a": torch.zeros(2), "x": Evil()}))
    head = (tmp_path / "x.pt").read_bytes()[: len(BEFORE_1_6)]
    (tmp_path / "y.pt").write_bytes(head + pickle.dumps(Evil(), 2))
    with pytest.raises(FileError, match="nothing is executed"):
        tensors_of(tmp_path / "y.pt")
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"K\x04Nt", b"J\xff\xff\xff\x7fNt", "more numbers than the file has room for"),
        (b"K\x04Nt", b"K\x03Nt", "over 3 numbers"),
        (b"K\x04Nt", b"K\x05Nt", "cut short"),
        (b"K\x04Nt", b"K\x04K\x01t", "unknown storage"),
        (b"little_endianq\x02\x88", b"little_endianq\x02\x89", "order of bytes"),
        (b"M\xe9\x03.", b"M\xe8\x03.", "another version"),
        (b"\x04" + bytes(7) + bytes(16), b"\x04" + bytes(7) + bytes(12), "cut short"),
        (b"\x04" + bytes(7) + bytes(16), b"\x03" + bytes(7) + bytes(16), "cut short"),
    ],
)
def test_damaged_files_of_torch_before_1_6_are_one_line(old, new, words, tmp_path):
    path = old_file(tmp_path / "x.pt", {"a": torch.zeros(4)})
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    with pytest.raises(FileError, match=rf"x.pt: damaged \(.*{words}"):
        tensors_of(path)


@pytest.mark.parametrize("write", [torch_file, torch_file_before_1_6])
def test_damage_is_told_in_one_line_whatever_python_says(write, tmp_path):
    for code, words in (
        (b"Floatx\nStorage\n.", "could not convert string to float"),
        (b"\x80\x04\x8c\x03o\ns\x8c\x06system\x93.", r"calls o s\.system"),
    ):
        with pytest.raises(FileError, match=words) as error:
            tensors_of(write(tmp_path / "x.pt", code))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("write", [torch_file, torch_file_before_1_6])
@pytest.mark.parametrize("opcode", [b"\x8e", b"\x8d", b"\x96"])
def test_no_room_is_made_for_the_length_that_a_pickle_claims(write, opcode, tmp_path):
    path = write(tmp_path / "x.pt", b"\x80\x05" + opcode + (1 << 30).to_bytes(8, "little") + b"abc.")
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match="damaged"):
            tensors_of(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
