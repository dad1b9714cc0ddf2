"""Every format gives back what was written; every kind of damage gives one line that says where."""

import csv
import io
import json
import tarfile
import tempfile
from pathlib import Path

import datasets
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_iterator

from polyprompt.data.items import Pairs
from polyprompt.data.read import read_pairs
from polyprompt.errors import BadPicturesError, DataError, ImageError, PolypromptError, UnknownNameError

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
STRANGE = [
    "<|im_end|>",
    "</s> <s>[INST]",
    "bell \a, nul \0, escape \x1b[0m",
    'quotes " and "" and \'',
    "é 😀 \u2028 end",
]


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), COLOURS[number % 3]).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.png").write_bytes(png(number))
    return tmp_path


def by_key(pairs: Pairs) -> dict[str, list[str]]:
    found = {image.key: [] for image in pairs.images}
    for caption, image in zip(pairs.captions, pairs.image_of, strict=True):
        found[pairs.images[image].key].append(caption)
    return found


def one_line(error: pytest.ExceptionInfo) -> bool:
    return "\n" not in str(error.value) and isinstance(error.value, PolypromptError)


# Tables

Caption = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
TsvCaption = Caption.map(lambda text: text.translate({9: 32, 10: 32}).strip()).filter(bool)


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_table_comes_back_as_it_was_written(format, data):
    caption = TsvCaption if format == "tsv" else Caption
    rows = data.draw(st.lists(st.tuples(st.integers(0, 2), caption, st.sampled_from("ab")), min_size=1))
    split = data.draw(st.sampled_from(sorted({row[2] for row in rows})))
    with tempfile.TemporaryDirectory() as name:
        for number in range(3):
            (Path(name) / f"{number}.png").write_bytes(png(number))
        with (Path(name) / f"captions.{format}").open("w", encoding="utf-8", newline="") as file:
            if format == "csv":
                csv.writer(file).writerows([("image", "split", "text"), *((f"{i}.png", s, t) for i, t, s in rows)])
            elif format == "tsv":
                file.write("Filename\tcaption\tsplit\n" + "".join(f"{i}.png\t{t}\t{s}\n" for i, t, s in rows))
            else:
                file.writelines(
                    json.dumps({"file_name": f"./{i}.png", "text": t, "split": s}) + "\n" for i, t, s in rows
                )
        everything, half = read_pairs(name), read_pairs(name, split)
        for pairs, kept in ((everything, rows), (half, [row for row in rows if row[2] == split])):
            assert [(pairs.images[i].key, c) for i, c in zip(pairs.image_of, pairs.captions, strict=True)] == [
                (f"{i}.png", text) for i, text, _ in kept
            ]
        for image in everything.images:
            assert image.open().getpixel((0, 0)) == COLOURS[int(image.key[0])]


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_captions_are_text_whatever_they_look_like(folder, format):
    path = folder / f"captions.{format}"
    with path.open("w", encoding="utf-8", newline="") as file:
        if format == "csv":
            csv.writer(file).writerows([("file", "caption"), *(("0.png", f"  {text} ") for text in STRANGE)])
        elif format == "tsv":
            file.write("file\tcaption\r\n" + "".join(f"0.png\t {text}\r\n" for text in STRANGE))
        else:
            file.write(json.dumps({"file": "0.png", "captions": [f"{text}\n" for text in STRANGE]}))
    assert read_pairs(str(path)).captions == tuple(STRANGE)
    assert read_pairs(str(folder)).name == folder.name


def table(folder: Path, text: str, name: str = "captions.csv") -> str:
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    return str(folder)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("captions.csv", "photo,words\n0.png,a\n", r"no column for the picture; found 'photo', 'words'. Name it file,"),
        ("captions.csv", "file,words\n0.png,a\n", r"no column for the caption or the label; found 'file', 'words'"),
        ("captions.csv", "file,caption\n0.png,a, b\n", r"captions.csv, line 2: 3 fields, but the first line names 2"),
        ("captions.csv", "file,caption\n0.png,a\n\n1.png, \n", r"captions.csv, line 4: the caption of 1.png is empty"),
        ("captions.csv", 'file,caption\n0.png,"a\n', r"not well-formed csv"),
        ("captions.csv", "file,caption\n", "no pictures"),
        ("captions.csv", "", "no pictures"),
        (
            "captions.csv",
            "file,caption\n0.png,a\n7.png,b\n",
            r"captions.csv, line 3: no picture '7.png'.*max_bad, now 0",
        ),
        ("captions.csv", "file,caption\n,b\n", r"line 2: no picture"),
        ("captions.jsonl", '{"file": "0.png", "caption": "a"}\n{"file":\n', r"captions.jsonl, line 2: not JSON"),
        ("captions.jsonl", "[1]\n", r"line 1: is a list"),
        ("captions.jsonl", '{"file": "0.png", "caption": 3}\n', r"line 1: the caption is 3; give a string"),
        ("captions.jsonl", '{"file": "0.png", "caption": []}\n', r"line 1: the caption is \[\]"),
        ("captions.jsonl", '{"file": 0, "caption": "a"}\n', r"line 1: file is 0; give the name"),
        (
            "captions.jsonl",
            '{"file": "0.png", "caption": "a \\ud83d"}\n',
            r"line 1, the caption: letter 2, .* is half a character",
        ),
        ("captions.tsv", "file\tcaption\n0.png\t\ud83d\n", r"byte 19 is not UTF-8"),
    ],
)
def test_a_bad_table_gives_one_line(folder, name, text, words):
    with pytest.raises(DataError, match=words) as caught:
        read_pairs(table(folder, text, name))
    assert one_line(caught)


def test_two_tables_in_one_folder_are_refused(folder):
    table(folder, "file,caption\n0.png,a\n")
    with pytest.raises(DataError, match=r"holds captions.csv and captions.tsv; name the table itself"):
        read_pairs(table(folder, "file\tcaption\n0.png\ta\n", "captions.tsv"))


def test_an_unknown_split_offers_near_names(folder):
    source = table(folder, "file,caption,split\n0.png,a,train\n1.png,b,test\n2.png,c,restval\n")
    assert by_key(read_pairs(source, "train+restval")) == {"0.png": ["a"], "2.png": ["c"]}
    with pytest.raises(UnknownNameError, match=r"'tset'. Did you mean 'test'") as caught:
        read_pairs(source, "tset")
    assert one_line(caught)


def test_splits_are_drawn_where_none_are_given_always_the_same(folder, capsys):
    lines = [f"{i}.png,{'abc'[i]}" for i in range(3)]
    forward = table(folder, "\n".join(["file,caption", *lines, lines[0]]))
    found = {split: by_key(read_pairs(forward, split)) for split in ("train", "dev", "test")}
    assert "no splits given, so 1 of its 3 pictures are test and 1 dev" in capsys.readouterr().err
    assert sorted(key for one in found.values() for key in one) == ["0.png", "1.png", "2.png"]
    backward = table(folder, "\n".join(["file,caption", *lines[::-1], lines[0]]))
    assert found == {split: by_key(read_pairs(backward, split)) for split in ("train", "dev", "test")}
    with pytest.raises(DataError, match="2 pictures are too few"):
        read_pairs(table(folder, "file,caption\n0.png,a\n1.png,b\n"), "train")


@pytest.mark.parametrize("given", ["dev", "val", "valid", "validation"])
def test_the_split_between_train_and_test_has_four_names(folder, given):
    source = table(folder, f"file,caption,split\n0.png,a,train\n1.png,b,{given}\n")
    assert [by_key(read_pairs(source, name)) for name in ("dev", "val", "validation")] == [{"1.png": ["b"]}] * 3


def test_sources_that_are_nothing(tmp_path):
    with pytest.raises(DataError, match=r"no such file or folder, and no data set of the catalogue"):
        read_pairs(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no captions found in it"):
        read_pairs(str(tmp_path))
    for name in ("none.csv", "none.json", "none.tar"):
        with pytest.raises(DataError, match="no such file"):
            read_pairs(str(tmp_path / name))


def test_bad_pictures_are_listed_and_skipped_up_to_a_limit(folder, capsys):
    (folder / "images" / "1.png").write_bytes(png(1)[:40])
    source = table(folder, "file,caption\n0.png,a\n1.png,b\n7.png,c\n2.png,d\n7.png,e\n1.png,f\n")
    pairs = read_pairs(source, max_bad=2)
    assert by_key(pairs) == {"0.png": ["a"], "2.png": ["d"]}
    assert len(pairs.skipped) == 2
    assert pairs.skipped[0] == "captions.csv, line 4: no picture '7.png'"
    assert pairs.skipped[1].startswith("1.png: ")
    message = capsys.readouterr().err
    assert [f"left out, {line}\n" in message for line in pairs.skipped] == [True, True]
    with pytest.raises(BadPicturesError, match=r"no picture '7.png' \(and 1 more\)") as caught:
        read_pairs(source, max_bad=1)
    assert one_line(caught)
    assert caught.value.lines == pairs.skipped


def test_without_a_limit_a_bad_picture_raises_when_it_is_opened(folder):
    (folder / "images" / "1.png").write_bytes(b"")
    pairs = read_pairs(table(folder, "file,caption\n0.png,a\n1.png,b\n"))
    with pytest.raises(ImageError, match=r"^1.png: the file is empty"):
        pairs.images[1].open()


# Karpathy's JSON


def karpathy(folder: Path, **change) -> str:
    images = [
        {"filename": f"{n}.png", "split": split, "sentences": [{"raw": f"{n}{letter}"} for letter in "ab"]}
        for n, split in enumerate(["train", "restval", "test"])
    ]
    images[0] |= change
    (folder / "dataset_toy.json").write_text(json.dumps({"images": images, "dataset": "toy"}))
    return str(folder / "dataset_toy.json")


def test_karpathys_json(folder):
    source = karpathy(folder)
    assert by_key(read_pairs(source)) == {f"{n}.png": [f"{n}a", f"{n}b"] for n in range(3)}
    assert by_key(read_pairs(str(folder), "train+restval")) == {f"{n}.png": [f"{n}a", f"{n}b"] for n in range(2)}


def test_karpathys_filepath_is_a_folder_and_part_of_the_key(folder):
    (folder / "train2014").mkdir()
    (folder / "images" / "0.png").rename(folder / "train2014" / "0.png")
    pairs = read_pairs(karpathy(folder, filepath="train2014"))
    assert [image.key for image in pairs.images] == ["train2014/0.png", "1.png", "2.png"]
    assert [image.open().getpixel((0, 0)) for image in pairs.images] == COLOURS
    assert read_pairs(karpathy(folder, filename="1.png", filepath="gone"), "train").images[0].key == "gone/1.png"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filename": "9.png"}, r"dataset_toy.json, images\[0\].sentences\[0\]: no picture '9.png'"),
        ({"filename": None}, r"images\[0\]: 'filename' is None, must be a str; found the fields 'filename'"),
        ({"sentences": []}, r"images\[0\]: 0.png has no sentences"),
        ({"sentences": [{"tokens": ["a"]}]}, r"images\[0\].sentences\[0\]: 'raw' is None"),
        ({"sentences": ["a"]}, r"images\[0\].sentences\[0\]: is a str; it must be an object"),
        ({"sentences": [{"raw": "\n"}]}, r"images\[0\].sentences\[0\]: the caption of 0.png is empty"),
    ],
)
def test_a_bad_karpathy_json_gives_one_line(folder, change, words):
    with pytest.raises(DataError, match=words) as caught:
        read_pairs(karpathy(folder, **change))
    assert one_line(caught)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": {}}', "[" * 100_000])
def test_a_json_of_another_kind_is_refused(folder, text):
    (folder / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x.json: ") as caught:
        read_pairs(str(folder / "x.json"))
    assert one_line(caught)


# webdataset tars


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
        ({"png": png(0), "json": b"{"}, r"0.json is not JSON"),
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


# Hugging Face datasets


@pytest.fixture(autouse=True)
def quiet_datasets():
    datasets.disable_progress_bars()


def saved(folder: Path, columns: dict, *, splits: bool = False) -> str:
    features = datasets.Features(
        {
            name: datasets.Image()
            if name in ("photo", "photo2")
            else datasets.List(datasets.Value("string"))
            if isinstance(values[0], list)
            else datasets.Value("string")
            for name, values in columns.items()
        }
    )
    dataset = datasets.Dataset.from_dict(columns, features=features)
    whole = datasets.DatasetDict({"train": dataset, "test": dataset.select([0])}) if splits else dataset
    whole.save_to_disk(str(folder / "saved"))
    return str(folder / "saved")


def test_a_saved_data_set(tmp_path):
    images = [{"bytes": png(n), "path": None} for n in range(3)]
    captions = [["red", "<|im_end|>"], ["green"], ["blue", "sea"]]
    source = saved(tmp_path, {"photo": images, "sentences": captions}, splits=True)
    train = read_pairs(source, "train")
    assert by_key(train) == {f"train/{n}": captions[n] for n in range(3)}
    assert [image.open().getpixel((0, 0)) for image in train.images] == COLOURS
    assert by_key(read_pairs(source, "test")) == {"test/0": captions[0]}
    assert len(read_pairs(source).images) == 4


def test_rows_of_one_picture_are_joined_and_equal_paths_alone_do_not_join(tmp_path):
    images = [{"bytes": png(n), "path": path} for n, path in [(0, "a.png"), (1, "b.png"), (0, "a.png"), (2, "a.png")]]
    source = saved(tmp_path, {"photo": images, "text": ["r", "g", "red", "b"], "split": ["x", "x", "y", "x"]})
    assert by_key(read_pairs(source)) == {"row/a.png": ["r", "red"], "row/b.png": ["g"], "row/a.png#3": ["b"]}
    assert by_key(read_pairs(source, "y")) == {"row/a.png": ["red"]}


def test_bad_data_sets_give_one_line(tmp_path):
    images = [{"bytes": png(0), "path": None}, None]
    for i, (columns, words) in enumerate(
        [
            ({"photo": images, "caption": ["a", "b"]}, r"saved, row 1: no picture 'row/1'"),
            ({"photo": images, "words": ["a", "b"]}, r"no column for the caption or the label; found 'photo', 'words'"),
            ({"image": ["a", "b"], "text": ["a", "b"]}, r"one column of type Image, has 0; found 'image', 'text'"),
            ({"photo": images, "photo2": images, "text": ["a", "b"]}, r"one column of type Image, has 2"),
            ({"photo": images, "text": [" ", "b"]}, r"saved, row 0: the caption of row/0 is empty"),
        ]
    ):
        (tmp_path / str(i)).mkdir()
        with pytest.raises(DataError, match=words) as caught:
            read_pairs(saved(tmp_path / str(i), columns))
        assert one_line(caught)


def test_a_damaged_saved_data_set_and_an_unreachable_one(tmp_path):
    source = saved(tmp_path, {"photo": [{"bytes": png(0), "path": None}], "text": ["a"]})
    (Path(source) / "state.json").write_text("{")
    with pytest.raises(DataError, match="cannot open it") as caught:
        read_pairs(source)
    assert one_line(caught)
    with pytest.raises(DataError, match=r"hf:nobody/nothing: the datasets library cannot open it") as caught:
        read_pairs("hf:nobody/nothing")
    assert one_line(caught)


@pytest.mark.parametrize(("library", "source"), [("datasets", "hf:who/what"), ("braceexpand", "{0..9}.tar")])
def test_a_library_that_is_not_installed_is_named(not_installed, library, source):
    not_installed(library)
    with pytest.raises(DataError, match=rf"package {library}; pip install '\.\[data\]'"):
        read_pairs(source)


def test_hub_names_carry_a_config(monkeypatch, tmp_path):
    source = saved(tmp_path, {"photo": [{"bytes": png(0), "path": None}], "text": ["a"]}, splits=True)
    asked = []

    def load_dataset(*names):
        asked.append(names)
        return datasets.load_from_disk(source)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read_pairs("hf:who/what:en", "test").captions == ("a",)
    assert read_pairs("hf:who/what", "test").name == "what:test"
    assert asked == [("who/what", "en"), ("who/what", None)]
