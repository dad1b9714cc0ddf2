"""Every kind of table gives back what was written; every kind of damage gives one line that says where."""

import csv
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import labelled
from toy_data import COLOURS, PLACES, Caption, captions, one_line, png, table

from polyprompt.data.read import read_labelled, read_pairs, read_scored, splits_of
from polyprompt.data.rows import NO_NAME
from polyprompt.errors import DataError

STRANGE = [
    "<|im_end|>",
    "</s> <s>[INST]",
    "bell \a, nul \0, escape \x1b[0m",
    'quotes " and "" and \'',
    "é 😀 \u2028 end",
]


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
            '{"file": "0.png", "caption": "a"}\n{"file": "1.png"}\n',
            r"line 2: the caption is None",
        ),
        (
            "captions.jsonl",
            '{"file": "0.png", "caption": ["a", null]}\n',
            r"line 1: the caption is \['a', None\]",
        ),
        ("captions.jsonl", '{"file": "0.png", "caption": NaN}\n', r"line 1: the caption is nan; give a string"),
        (
            "captions.jsonl",
            '{"file": "0.png", "caption": "a", "split": ["x"]}\n',
            r"line 1: split is \['x'\]; give a text",
        ),
        ("captions.jsonl", '{"file": "0.png", "caption": "a", "split": true}\n', r"line 1: split is True; give a text"),
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
    with pytest.raises(DataError, match=r"holds captions.csv and captions.tsv; give one of them"):
        read_pairs(table(folder, "file\tcaption\n0.png\ta\n", "captions.tsv"))


def test_kaggles_own_file_and_one_with_bars(root):
    root.pictures("Images/1.jpg", "Images/2.jpg")
    root.file("captions.txt", 'image,caption\n1.jpg,A child .\n2.jpg,"A dog , running ."\n')
    expected = [("1.jpg", "A child ."), ("2.jpg", "A dog , running .")]
    for source in ("captions.txt", ""):
        assert captions(read_pairs(str(root.path / source))) == expected
    (root.path / "captions.txt").unlink()
    root.file("results.csv", "image_name| comment_number| comment\n1.jpg| 0| A child .\n2.jpg| 0| A dog , running .\n")
    assert captions(read_pairs(str(root.path))) == expected


def test_several_columns_that_could_be_meant_are_told_and_twins_refused(root, messages):
    root.pictures("1.png").file("captions.csv", "file,text,caption\n1.png,a,b\n")
    assert read_pairs(str(root.path)).captions == ("b",)
    assert "captions.csv: 'caption' is read, 'text' is passed over" in messages()
    root.file("captions.csv", "file,caption,caption\n1.png,a,b\n")
    with pytest.raises(DataError, match="two columns are called 'caption'"):
        read_pairs(str(root.path))


Words = st.text(st.characters(categories=["L", "Zs"]), min_size=1).map(str.strip)
Names = st.lists(Words.filter(lambda name: name and name.casefold() not in NO_NAME), min_size=2, max_size=4)


@settings(max_examples=30, deadline=None)
@given(Names.filter(lambda names: len({name.casefold() for name in names}) == len(names)), st.data())
def test_a_table_of_classes_comes_back_as_it_was_written(names, data):
    labels = [*range(len(names)), *data.draw(st.lists(st.integers(0, len(names) - 1), max_size=5))]
    splits = data.draw(st.lists(st.sampled_from(["train", "test"]), min_size=len(labels), max_size=len(labels)))
    with tempfile.TemporaryDirectory() as folder:
        for i in range(len(labels)):
            (Path(folder) / f"{i}.png").touch()
        with (Path(folder) / "table.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Path", "label", "class_name", "split"])
            writer.writerows([f"{i}.png", label, names[label], splits[i]] for i, label in enumerate(labels))
        found = read_labelled(str(Path(folder) / "table.csv"), splits[0], class_names=sorted(names))
        assert labelled(found) == [
            (f"{i}.png", names[label]) for i, label in enumerate(labels) if splits[i] == splits[0]
        ]


def test_a_table_of_names_needs_no_numbers(animals):
    (animals / "t.tsv").write_text("file\tclass\n" + "".join(f"{place}\t{place[:3].upper()}\n" for place in PLACES))
    data = read_labelled(str(animals / "t.tsv"))
    assert labelled(data) == [(place, place[:3].upper()) for place in PLACES]
    assert data.name == "t"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "path,label\ncat/1.png,dog\ndog/1.png,dog\ncat/2.png,cat\n",
            "line 2: cat/1.png lies in the folder of class 'cat'",
        ),
        ("path,label\ncat/1.png,0\ndog/1.png,1\n", "line 2: the label is 0, a number; .* add a column class_name"),
        (
            "path,label,class_name\ncat/1.png,0,cat\ndog/1.png,0,dog\n",
            "line 3: '0' goes with 'dog' here, but with 'cat' at",
        ),
        (
            "path,label,class_name\ncat/1.png,0,cat\ncat/2.png,1,cat\n",
            "line 3: 'cat' goes with '1' here, but with '0' at",
        ),
        ("path,label\ncat/1.png,\n", "line 2: the class of cat/1.png is empty"),
        (
            "path,label\ncat/1.png,cat\ndog/1.png,nan\n",
            "line 3: the class of dog/1.png is empty .nan and null",
        ),
        ("path,label,class_name\ncat/1.png,0,cat\ndog/1.png,1,NaN\n", "line 3: the class of dog/1.png is empty"),
        ("path,label\ncat/1.png,cat\n", r"1 class \(cat\)"),
        ("path,label\ncat/1.png,cat\ndog/9.png,dog\n", "line 3: no picture 'dog/9.png'"),
        ("path,words\ncat/1.png,cat\n", "no column for the caption or the label; found 'path', 'words'"),
        ("path,label\n", "0 classes"),
        ("path,label,split\ncat/1.png,cat,train\ndog/1.png,dog,train\n", "has the splits train; choose one"),
    ],
)
def test_a_bad_table_of_classes_gives_one_line(animals, text, words):
    (animals / "table.csv").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_labelled(str(animals / "table.csv"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ('{"path": "dog/1.png", "label": null}', "line 2: the class of dog/1.png is empty"),
        ('{"path": "dog/1.png", "label": NaN}', "line 2: the class of dog/1.png is empty"),
        ('{"path": "dog/1.png"}', "line 2: the class of dog/1.png is empty"),
        ('{"path": "dog/1.png", "label": 1, "class_name": null}', "line 2: the class of dog/1.png is empty"),
        ('{"path": "dog/1.png", "label": 1, "class_name": ["dog"]}', r"line 2: class_name is \['dog'\]; give a text"),
        ('{"path": "dog/1.png", "label": 1.5}', "line 2: the label is 1.5; give a name or a whole number"),
    ],
)
def test_a_class_that_is_no_text_gives_one_line(animals, second, words):
    first = '{"path": "cat/1.png", "label": "cat"' + (', "class_name": "cat"}' if "class_name" in second else "}")
    (animals / "table.jsonl").write_text(f"{first}\n{second}\n")
    with pytest.raises(DataError, match=words) as caught:
        read_labelled(str(animals / "table.jsonl"))
    assert one_line(caught)


def test_captions_may_have_classes_that_are_empty(folder):
    (folder / "captions.jsonl").write_text(
        '{"file": "0.png", "caption": "a", "label": null}\n{"file": "1.png", "caption": "b", "label": "x"}\n'
    )
    assert read_pairs(str(folder)).captions == ("a", "b")


def test_each_line_of_a_jsonl_table_may_name_columns(folder):
    lines = [{"file": "0.png", "caption": "a"}, {"file": "1.png", "caption": "b", "split": 0}]
    lines += [{"split": "test", "caption": "c", "file": "2.png"}]
    source = table(folder, "\n".join(map(json.dumps, lines)), "captions.jsonl")
    assert captions(read_pairs(source, "test")) == [("2.png", "c")]
    assert captions(read_pairs(source, "0")) == [("1.png", "b")]
    assert captions(read_pairs(source)) == [("0.png", "a"), ("1.png", "b"), ("2.png", "c")]
    lines = [{"file": "0.png", "label": "cat"}, {"file": "1.png", "label": "dog", "split": "train"}]
    assert splits_of(str(Path(table(folder, "\n".join(map(json.dumps, lines)), "x.jsonl")) / "x.jsonl")) == ("train",)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ('"sentence1": "a"', "line 2: sentence2 is None; give a text"),
        ('"sentence1": null, "sentence2": "b"', "line 2: sentence1 is None; give a text"),
        ('"sentence1": NaN, "sentence2": "b"', "line 2: sentence1 is nan; give a text"),
        ('"sentence1": "a", "sentence2": ["b"]', r"line 2: sentence2 is \['b'\]; give a text"),
        ('"sentence1": "a", "sentence2": "[\'b\']", "split": "train"', "line 2: a sentence is a list written as text"),
        ('"sentence1": "a", "sentence2": "b", "split": ["train"]', r"line 2: split is \['train'\]; give a text"),
        ('"sentence1": "a", "sentence2": "b", "score": null', "line 2: the score is None; give a number"),
    ],
)
def test_a_bad_table_of_sentences_gives_one_line(tmp_path, second, words):
    first = '{"sentence1": "a", "sentence2": "b", "score": 1, "split": "train"}'
    score = "" if "score" in second else '"score": 2, '
    (tmp_path / "sts.jsonl").write_text(f"{first}\n{{{score}{second}}}\n")
    with pytest.raises(DataError, match=words) as caught:
        read_scored(str(tmp_path / "sts.jsonl"), "train")
    assert one_line(caught)


def test_a_sentence_that_may_stand_for_none_is_told_and_kept(tmp_path, messages):
    (tmp_path / "sts.csv").write_text("sentence1,sentence2,score\na,nan,1\n")
    assert read_scored(str(tmp_path / "sts.csv")).second == ("nan",)
    assert "sts.csv: 1 sentence may stand for none (sts.csv, line 2: 'nan')." in messages()


@pytest.mark.parametrize("name", ["photos.csv", "x.jsonl", "captions.csv", "captions.txt"])
def test_a_folder_may_be_called_like_a_table(root, name):
    root.pictures(f"{name}/cat/1.png", f"{name}/dog/1.png")
    source = str(root.path / name)
    assert labelled(read_labelled(source)) == [("cat/1.png", "cat"), ("dog/1.png", "dog")]
    with pytest.raises(DataError, match=f"{name}: no captions found in it") as caught:
        read_pairs(source)
    assert one_line(caught)
    root.file(f"{name}/captions.csv", "file,caption\ncat/1.png,a\n")
    assert captions(read_pairs(source)) == [("cat/1.png", "a")]


def test_second_columns_of_every_kind_are_told(root, messages):
    root.pictures("1.png", "2.png")
    root.file("metadata.csv", "file,subset,split,category_name,class_name\n1.png,x,train,y,a\n2.png,x,train,z,b\n")
    assert read_labelled(str(root.path), "train").class_names == ("a", "b")
    told = messages()
    assert "metadata.csv: 'split' is read, 'subset' is passed over." in told
    assert "metadata.csv: 'class_name' is read, 'category_name' is passed over." in told
    root.file("s.csv", "sentence1,text1,sentence2,score,similarity\na,x,b,1,5\n")
    assert read_scored(str(root.path / "s.csv")).scores == (1.0,)
    told = messages()
    assert "s.csv: 'score' is read, 'similarity' is passed over." in told
    assert "s.csv: 'sentence1' is read, 'text1' is passed over." in told


@pytest.mark.parametrize("columns", ["file,label,class_name", "file,class_name,label"])
def test_labels_that_are_whole_numbers_written_as_floats_count_as_numbers(root, columns):
    root.pictures(*(f"{n}.png" for n in range(12)))
    cells = [(f"{n}.png", f"{n}.0", chr(ord("z") - n)) for n in range(12)]
    lines = [",".join(dict(zip(("file", "label", "class_name"), row, strict=True))[c] for c in columns.split(","))
             for row in cells]  # fmt: skip
    root.file("metadata.csv", "\n".join([columns, *lines]))
    assert read_labelled(str(root.path)).class_names == tuple("zyxwvutsrqpo")


def test_a_cell_without_the_name_of_a_picture_is_called_empty(root):
    root.pictures("1.png").file("captions.csv", "file,caption\n1.png,a\n,b\n")
    with pytest.raises(DataError, match=r"captions.csv, line 3: no picture, since its name is empty"):
        read_pairs(str(root.path))


def test_sentences_that_look_damaged_and_pairs_that_repeat_are_told(tmp_path, messages):
    rows = ['"he said ""x"""\tb\t5', "caf\u00c3\u00a9\tred &amp; blue\t1", "a\tb\t2", "a\tb\t3"]
    (tmp_path / "s.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]), encoding="utf-8")
    assert len(read_scored(str(tmp_path / "s.tsv")).first) == 4
    told = messages()
    assert "s.tsv: 1 sentence keep a csv's doubled quotes" in told
    assert "s.tsv: 1 sentence look like text read in a wrong encoding (s.tsv, line 3: 'caf" in told
    assert "s.tsv: 1 sentence hold signs as HTML writes them (s.tsv, line 3: 'red &amp; blue')." in told
    assert "s.tsv: 1 pair repeats another one ('a' and 'b')." in told


@pytest.mark.parametrize("sign", [";", "\t"])
def test_a_csv_with_another_sign_between_its_columns(tmp_path, sign):
    """Excel writes semicolons where numbers have a comma."""
    (tmp_path / "0.png").write_bytes(png(0))
    lines = [["file", "caption"], ["0.png", f'"red, and{sign} ""bright"""'], ["0.png", "a square"]]
    (tmp_path / "captions.csv").write_text("\r\n".join(map(sign.join, lines)), encoding="utf-8-sig")
    assert read_pairs(tmp_path).captions == (f'red, and{sign} "bright"', "a square")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("sentence1,sentence2", "no column for the score; found 'sentence1', 'sentence2'. Name it score, "),
        ("sentence1,score", "no column for the second sentence; found"),
        ("sentence_B,score,label", "no column for the first sentence; found"),
    ],
)
def test_a_column_of_pairs_that_is_missing(tmp_path, names, message):
    (tmp_path / "s.csv").write_text(f"{names}\n{','.join('123'[: names.count(',') + 1])}\n")
    with pytest.raises(DataError, match=rf"^s\.csv: {message}"):
        read_scored(tmp_path / "s.csv")
