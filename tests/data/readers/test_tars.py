"""Shards hold what the webdataset library finds in them; every kind of damage gives one line that says where."""

import io
import json
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import Root, picture
from toy_data import COLOURS, Caption, by_key, captions, keys, one_line, png, tar
from webdataset.tariterators import group_by_keys, tar_file_iterator

from polyprompt.data.read import read_labelled, read_pairs
from polyprompt.data.source import kinds_of
from polyprompt.errors import DataError, ImageError, UnknownNameError


def shard(path: Path, samples: list[dict]) -> str:
    with webdataset.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(sample)
    return str(path)


def text_of(sample: dict) -> str:
    return sample["txt"].decode() if "txt" in sample else json.loads(sample["json"])["caption"]


Samples = st.lists(st.tuples(st.integers(0, 2), Caption, st.sampled_from(["txt", "json"])), min_size=1, max_size=5)


@settings(max_examples=20, deadline=None)
@given(rows=Samples)
def test_tars_hold_what_the_webdataset_library_finds_in_them(rows):
    with tempfile.TemporaryDirectory() as name:
        samples = [
            {"__key__": f"d/{n:04}", "png": png(image), kind: text if kind == "txt" else {"caption": text}}
            for n, (image, text, kind) in enumerate(rows)
        ]
        source = shard(Path(name) / "toy-0.tar", samples)
        with open(source, "rb") as file:  # WebDataset itself leaves the file open, and warnings are errors here
            members = ({**member, "__url__": source} for member in tar_file_iterator(file))
            theirs = [
                (found["__key__"], found["png"], text_of(found))
                for found in group_by_keys(members)  # pyright: ignore[reportArgumentType]
            ]
        pairs = read_pairs(source)
        ours = [
            (image.key.removeprefix("toy-0.tar/").removesuffix(".png"), image.read(), caption)
            for image, caption in zip(pairs.images, pairs.captions, strict=True)
        ]
        assert ours == theirs


def test_many_shards_with_splits_and_several_captions(tmp_path):
    for n in range(3):
        sample = {"__key__": "0", "png": png(n), "json": {"captions": [f"{n}a", f"{n}b"]}}
        shard(tmp_path / f"{'val' if n == 2 else 'train'}-{n}.tar", [sample])
    keys = [f"train-{n}.tar/0.png" for n in range(2)]
    for source in (tmp_path, tmp_path / "*.tar", tmp_path / "{train-0,train-1,val-2}.tar"):
        assert by_key(read_pairs(str(source), "train")) == {key: [f"{n}a", f"{n}b"] for n, key in enumerate(keys)}
    assert len(read_pairs(str(tmp_path)).images) == 3
    with pytest.raises(UnknownNameError, match="Known: train, val"):
        read_pairs(str(tmp_path), "xyzzy")


def test_other_members_of_a_tar_are_passed_over(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in [
            ("README", b"hello"),
            (".hidden.png", b"x"),
            ("0.PNG", png(0)),
            ("0.txt", b"red"),
            ("0.json", b'{"width": 2}'),
            ("stats.json", b"[1]"),
        ]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    pairs = read_pairs(str(tmp_path / "a.tar"))
    assert by_key(pairs) == {"a.tar/0.PNG": ["red"]}
    assert pairs.images[0].open().getpixel((0, 0)) == COLOURS[0]


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({"png": png(0)}, r"a.tar, sample 0: a picture without a caption; add 0.txt"),
        ({"txt": "words"}, r"a.tar, sample 0: no picture 'a.tar/0'"),
        ({"png": png(0), "txt": " "}, r"sample 0: the caption of a.tar/0.png is empty"),
        ({"png": png(0), "txt": b"\xff"}, r"byte 0 of 0.txt is not UTF-8"),
        ({"png": png(0), "json": b"{"}, r"0.json: not JSON"),
        ({"png": png(0), "json": {"caption": 5}}, r"the caption is 5"),
    ],
)
def test_a_bad_sample_in_a_tar_gives_one_line(tmp_path, sample, words):
    with pytest.raises(DataError, match=words) as caught:
        read_pairs(shard(tmp_path / "a.tar", [{"__key__": "0", **sample}]))
    assert one_line(caught)


def test_a_damaged_tar_is_refused_wherever_the_damage_is(tmp_path):
    source = Path(shard(tmp_path / "a.tar", [{"__key__": str(n), "png": png(n), "txt": "a"} for n in range(4)]))
    whole = source.read_bytes()
    with tarfile.open(source) as tar:
        members = tar.getmembers()
    for member in members:
        damaged = bytearray(whole)
        damaged[member.offset + 150] ^= 1  # the header's checksum
        source.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a.tar: "):
            read_pairs(str(source))
        source.write_bytes(whole[: member.offset_data + member.size - 1])
        with pytest.raises(DataError, match=r"a.tar: "):
            read_pairs(str(source))
    source.write_bytes(b"")
    with pytest.raises(DataError, match=r"a.tar: not a whole plain tar"):
        read_pairs(str(source))


def test_a_compressed_tar_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz"):
        pass
    with pytest.raises(DataError, match="a compressed one must be unpacked first"):
        read_pairs(str(tmp_path / "a.tar"))


def test_a_tar_that_shrinks_gives_an_image_error(tmp_path):
    source = Path(shard(tmp_path / "a.tar", [{"__key__": "0", "png": png(0), "txt": "a"}]))
    pairs = read_pairs(str(source))
    source.write_bytes(source.read_bytes()[:600])
    with pytest.raises(ImageError, match="shorter since it was indexed"):
        pairs.images[0].open()


def test_without_braceexpand_the_package_is_named(not_installed):
    not_installed("braceexpand")
    with pytest.raises(DataError, match=r"package braceexpand; pip install '\.\[data\]'"):
        read_pairs("{0..9}.tar")


def test_equal_names_in_two_shards_are_two_pictures(root):
    tar(root, "cc3m/00000.tar", ("0.png", picture((255, 0, 0), "PNG")), ("0.txt", "red"))
    tar(root, "cc12m/00000.tar", ("0.png", picture((0, 0, 255), "PNG")), ("0.txt", "blue"))
    for source in (root.path, root.path / "*" / "*.tar"):
        pairs = read_pairs(str(source))
        assert captions(pairs) == [("cc12m/00000.tar/0.png", "blue"), ("cc3m/00000.tar/0.png", "red")]
        assert [image.open().getpixel((0, 0)) for image in pairs.images] == [(0, 0, 255), (255, 0, 0)]


def test_equal_names_in_one_shard_are_refused(root):
    tar(root, "a.tar", ("0.png", picture(kind="PNG")), ("0.txt", "a"), ("0.png", picture(kind="PNG")))
    with pytest.raises(DataError, match=r"a.tar, sample 0: holds two members .png"):
        read_pairs(str(root.path / "a.tar"))


def test_dots_in_the_names_of_members(root, messages):
    png = picture(kind="PNG")
    members = [("ok.png", png), ("ok.txt", "a"), ("ok.seg.png", png)]
    for name in ("img_22.05", "img_22.06", "d.x/v1.2.3"):
        members += [(f"{name}.png", png), (f"{name}.txt", name)]
    tar(root, "a.tar", *members, ("README", "hello"), (".x.png", png))
    pairs = read_pairs(str(root.path / "a.tar"))
    assert sorted(pairs.captions) == ["a", "d.x/v1.2.3", "img_22.05", "img_22.06"]
    line = messages()
    assert "a.tar: 3 members are neither picture nor caption, and left out" in line
    assert "a.tar/ok.seg.png" in line


def test_labels_in_tars(root):
    png = picture(kind="PNG")
    tar(root, "test/0.tar", ("0.png", png), ("0.cls", "1"), ("1.png", png), ("1.cls", "0"))
    with pytest.raises(DataError, match="the label is 1, a number"):
        read_labelled(str(root.path), "test")
    root.file("classnames.txt", "cat\ndog\n")
    data = read_labelled(str(root.path), "test")
    assert (data.class_names, data.labels, keys(data)) == (
        ("cat", "dog"),
        (1, 0),
        ["test/0.tar/0.png", "test/0.tar/1.png"],
    )
    assert kinds_of(str(root.path)) == ("labels",)


def test_a_class_or_a_split_that_is_no_text_in_a_tar(root):
    png = picture(kind="PNG")
    for about, words in [
        ({"label": 0, "class_name": None}, "sample 1: the class of a.tar/1.png is empty"),
        ({"label": 0, "class_name": ["cat"]}, r"sample 1: class_name is \['cat'\]; give a text"),
        ({"label": "nan"}, "sample 1: the class of a.tar/1.png is empty"),
        ({"label": "cat", "split": ["train"]}, r"sample 1: split is \['train'\]; give a text"),
    ]:
        tar(root, "a.tar", ("0.png", png), ("0.cls", "dog"), ("1.png", png), ("1.json", json.dumps(about)))
        with pytest.raises(DataError, match=words) as caught:
            read_labelled(str(root.path / "a.tar"))
        assert one_line(caught)
    tar(root, "train.tar", ("0.png", png), ("0.json", json.dumps({"caption": "a", "split": None})))
    assert read_pairs(str(root.path / "train.tar"), "train").captions == ("a",)


def test_a_member_of_more_bytes_than_a_picture_may_have(root, monkeypatch):
    tar(root, "x-0.tar", ("1.png", png(1)), ("1.txt", "a"), ("2.png", png(1) + bytes(1000)), ("2.txt", "b"))
    monkeypatch.setattr("polyprompt.media.pictures.MAX_BYTES", 1000)
    first, second = read_pairs(str(root.path)).images
    assert first.open().size == (2, 2)
    with pytest.raises(ImageError, match=r"^x-0.tar/2.png: cannot be read \(more than 1,000 bytes\)"):
        second.open()
    tar(root, "x-0.tar", ("1.png", png(1)), ("1.txt", "a" * 1001))
    with pytest.raises(DataError, match=r"x-0.tar, sample 1: 1.txt cannot be read \(more than 1,000 bytes\)"):
        read_pairs(str(root.path))


def test_shards_in_hidden_folders_are_left_out_and_in_linked_ones_read(root, tmp_path, messages):
    for name in ("a/0.tar", ".cache/0.tar", "a/.hid.tar", "a/._0.tar"):
        tar(root, name, ("0.png", png(0)), ("0.txt", name))
    tar(Root(tmp_path / "other"), "1.tar", ("0.png", png(1)), ("0.txt", "linked"))
    (root.path / "b").symlink_to(tmp_path / "other")
    os.mkfifo(root.path / "a" / "pipe.tar")
    assert by_key(read_pairs(str(root.path))) == {"a/0.tar/0.png": ["a/0.tar"], "b/1.tar/0.png": ["linked"]}
    told = messages()
    assert "d: left out 1 .tar, 3 hidden (a/pipe.tar, .cache/); no shards by their names" in told
    assert "d: 1 link that leads out of it was followed: b" in told


def test_the_current_folder_is_named(root, monkeypatch, messages):
    tar(root, "b.tar", ("1.png", png(0)), ("1.jpg", png(0)), ("1.txt", "a"))
    tar(root, "a.tar", ("0.png", png(0)), ("0.txt", "a"), ("README", "hello"))
    monkeypatch.chdir(root.path)
    read_pairs(".")
    told = messages()
    assert "polyprompt: d: 1 member is neither picture nor caption" in told
    assert "polyprompt: d: 1 sample has several pictures" in told


def test_byte_order_marks_of_texts_are_taken_off(root):
    tar(root, "0.tar", ("a.png", png(0)), ("a.cls", "\ufeff0"), ("b.png", png(1)), ("b.cls", "1"))
    root.file("Classnames.txt", "\ufeffcat\r\ngreat white shark\r\n")
    assert read_labelled(str(root.path)).class_names == ("cat", "great white shark")
    tar(root, "1.tar", ("a.png", png(0)), ("a.txt", "\ufeffa red cat"))
    assert captions(read_pairs(str(root.path / "1.tar"))) == [("1.tar/a.png", "a red cat")]


@pytest.mark.parametrize(("first", "second"), [("0", "1"), ("n01440764", "n01443537")])
def test_names_of_tars_may_stand_behind_ids_as_those_of_folders_do(root, messages, first, second):
    tar(root, "0.tar", ("a.png", png(0)), ("a.cls", second), ("b.png", png(1)), ("b.cls", first))
    root.file("classnames.txt", "n01440764 tench\nn01443537 goldfish\nn01484850 great white shark\n")
    data = read_labelled(str(root.path))
    assert (data.class_names, data.labels) == (("tench", "goldfish"), (1, 0))
    assert "d: 1 class of classnames.txt without a picture (great white shark)." in messages()
    root.file("classnames.txt", "1 goldfish\n0 tench\n")
    if first == "0":
        assert read_labelled(str(root.path)).class_names == ("tench", "goldfish")


def test_what_a_sample_says_besides_is_told(root, messages):
    tar(root, "0.tar", ("a.png", png(0)), ("a.txt", "x"), ("a.json", '{"caption": "y", "title": "z"}'),
        ("b.png", png(1)), ("b.txt", "same"), ("b.json", '{"caption": "same", "text": null, "width": 3}'),
        ("c.png", png(2)), ("c.caption", "x"), ("c.text", "y"), ("c.json", "[1]"))  # fmt: skip
    assert [text for _, text in captions(read_pairs(str(root.path)))] == ["x", "same", "x"]
    line = "d: 2 samples say more than is read, passed over (0.tar, sample a: 'caption' and 'title', "
    assert f"{line}0.tar, sample c: .json, which is no object in braces and .text)." in messages()
    tar(root, "1.tar", ("a.png", png(0)), ("a.cls", "cat"), ("a.json", '{"label": "dog"}'),
        ("b.png", png(1)), ("b.cls", "3"), ("b.json", '{"label": 3, "class_name": "cow"}'))  # fmt: skip
    assert read_labelled(str(root.path / "1.tar")).class_names == ("cow", "cat")
    assert "1 sample says more than is read, passed over (1.tar, sample a: 'label')." in messages()
    tar(root, "2.tar", ("a.png", png(0)), ("a.json", '{"caption": "x", "caption": "y"}'))
    with pytest.raises(DataError, match=r"sample a, a.json: 'caption' stands twice in one object"):
        read_pairs(str(root.path / "2.tar"))
