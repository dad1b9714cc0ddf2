"""Splits are found whatever they are called, drawn where there are none, and what lies in two of them is told."""

import pytest
from miniatures import picture
from toy_data import by_key, captions, keys, one_line, table, tar

from polyprompt.data.read import read_labelled, read_pairs, read_scored, splits_of
from polyprompt.errors import DataError, UnknownNameError


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


def test_splits_of_pairs_are_drawn_by_what_they_say(tmp_path, capsys):
    """As `align` and `evaluate` ask for them; a pair that comes twice, or turned round, stays in one split."""
    lines = [f"a{i},b{i},{i}" for i in range(20)]
    (tmp_path / "s.csv").write_text("\n".join(["sentence1,sentence2,score", *lines, "b7,a7,3"]))
    found = {split: read_scored(tmp_path / "s.csv", split) for split in ("train", "dev", "test")}
    assert "s.csv: no splits given, so 2 of its 20 pairs are test and 2 dev, by their words" in capsys.readouterr().err
    pairs = [{frozenset(pair) for pair in zip(one.first, one.second, strict=True)} for one in found.values()]
    assert [len(one) for one in pairs] == [16, 2, 2]
    assert len(set.union(*pairs)) == 20
    assert len(read_scored(tmp_path / "s.csv").scores) == 21


@pytest.mark.parametrize("read", [read_pairs, read_scored])
@pytest.mark.parametrize("text", ["", "file,caption\n", "sentence1,sentence2,score\n"])
def test_a_table_without_rows_is_said_to_be_one(tmp_path, read, text):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=r"^s\.csv: there is nothing in it, no line below the names of columns"):
        read(tmp_path / "s.csv", "train")


@pytest.mark.parametrize("given", ["dev", "val", "valid", "validation"])
def test_the_split_between_train_and_test_has_four_names(folder, given):
    source = table(folder, f"file,caption,split\n0.png,a,train\n1.png,b,{given}\n")
    assert [by_key(read_pairs(source, name)) for name in ("dev", "val", "validation")] == [{"1.png": ["b"]}] * 3


@pytest.mark.parametrize(
    ("first", "second", "asked"),
    [
        ("train", "val", "val"),
        ("train", "valid", "val"),
        ("Train", "VALIDATION", "dev"),
        ("training", "testing", "test"),
        ("dev", "test", "dev"),
        ("train2017", "val2017", "val"),
        ("Training_Set", "Test_Set", "test"),
    ],
)
def test_split_folders_are_no_classes(root, first, second, asked):
    root.pictures(f"{first}/red/1.png", f"{first}/blue/1.png", f"{second}/red/1.png", f"{second}/blue/2.png")
    data = read_labelled(str(root.path), asked)
    assert data.class_names == ("blue", "red")
    chosen = first if asked == "dev" and first == "dev" else second
    assert keys(data)[1] == f"{chosen}/red/1.png"
    assert splits_of(str(root.path)) == tuple(sorted((first, second)))
    with pytest.raises(DataError, match=f"d: has the splits {', '.join(sorted((first, second)))}; choose one"):
        read_labelled(str(root.path))
    with pytest.raises(UnknownNameError, match=r"no split of d is called 'xyzzy'. Known"):
        read_labelled(str(root.path), "xyzzy")


def test_a_class_may_be_called_train(root):
    root.pictures("train/1.png", "car/1.png", "bus/1.png")
    assert read_labelled(str(root.path)).class_names == ("bus", "car", "train")
    assert splits_of(str(root.path)) == ()


def test_splits_without_class_folders_and_other_folders_beside_them(root, messages):
    root.pictures("train/red/1.png", "train/blue/1.png", "val/1.png", "annotations/x.txt")
    with pytest.raises(DataError, match="d/val: is called like a split, but has no class folders in it"):
        read_labelled(str(root.path), "train")
    root.pictures("val/red/1.png", "val/blue/1.png")
    (root.path / "val/1.png").unlink()
    assert len(read_labelled(str(root.path), "val").pictures) == 2
    assert "d: left out annotations; train and val are its splits" in messages()


def test_split_folders_may_hold_lists_of_captions(root):
    root.pictures("train/1.png", "validation/1.png")
    root.file("train/metadata.csv", "file_name,text\n1.png,a\n")
    root.file("validation/metadata.csv", "file_name,text\n1.png,b\n")
    assert captions(read_pairs(str(root.path), "dev")) == [("validation/1.png", "b")]
    assert len(read_pairs(str(root.path)).images) == 2


@pytest.mark.parametrize(
    ("given", "asked"), [("Train", "train"), ("Validation", "dev"), ("TEST", "test"), ("VAL", "valid")]
)
def test_split_names_in_a_table_are_found_whatever_their_case(root, given, asked):
    root.pictures("1.png").file("captions.csv", f"file,caption,split\n1.png,a,{given}\n")
    assert captions(read_pairs(str(root.path), asked)) == [("1.png", "a")]
    root.file("labels.csv", f"file,label,split\n1.png,cat,{given}\n2.png,dog,{given}\n").pictures("2.png")
    assert len(read_labelled(str(root.path / "labels.csv"), asked).pictures) == 2


def test_two_spellings_of_one_split_are_one_and_two_splits_of_one_meaning_are_asked_about(root, messages):
    root.pictures("1.png", "2.png").file("captions.csv", "file,caption,split\n1.png,a,Train\n2.png,b,train\n")
    assert len(read_pairs(str(root.path), "train").images) == 2
    assert "'Train' (1 rows) and 'train' (1 rows) are read as one split" in messages()
    root.file("captions.csv", "file,caption,split\n1.png,a,dev\n2.png,b,val\n")
    assert captions(read_pairs(str(root.path), "val")) == [("2.png", "b")]
    with pytest.raises(DataError, match="'validation' may be 'dev' or 'val'; name the one that is meant"):
        read_pairs(str(root.path), "validation")


def test_a_picture_in_two_splits_is_told(root, messages):
    root.pictures("1.png", "2.png")
    root.file("captions.csv", "file,caption,split\n1.png,a,train\n1.png,b,test\n2.png,c,train\n")
    assert captions(read_pairs(str(root.path), "test")) == [("1.png", "b")]
    assert "1 picture lies in two splits, so what is scored was seen before: 1.png in train and test" in messages()
    root.json("split_x.json", {"train": [["1.png", 0, "a"], ["2.png", 1, "b"]], "test": [["2.png", 1, "b"]]})
    (root.path / "captions.csv").unlink()
    read_labelled(str(root.path), "test")
    assert "2.png in train and test" in messages()


def test_a_caption_in_two_splits_is_told(root, messages):
    root.pictures("1.png", "2.png", "3.png")
    root.file("captions.csv", "file,caption,split\n1.png,a dog,train\n2.png,a dog,test\n3.png,a cat,test\n")
    assert captions(read_pairs(str(root.path), "test")) == [("2.png", "a dog"), ("3.png", "a cat")]
    assert "1 caption stands word for word in two splits: 'a dog' in train and test." in messages()


def test_rows_without_a_split_beside_others_that_have_one_are_told(root, messages):
    root.pictures("1.png", "2.png", "3.png")
    root.file("captions.csv", "file,caption,split\n1.png,a,train\n2.png,b,\n3.png,c,  \n")
    assert captions(read_pairs(str(root.path), "train")) == [("1.png", "a")]
    line = "left out 2 rows without a split, which others have (captions.csv, line 3, captions.csv, line 4)."
    assert f"d: {line}" in messages()
    assert len(read_pairs(str(root.path)).images) == 3
    assert line not in messages()

    root.file("labels.csv", "file,label,split\n1.png,cat,train\n2.png,dog,train\n3.png,dog,\n")
    assert keys(read_labelled(str(root.path / "labels.csv"), "train")) == ["1.png", "2.png"]
    assert "labels: left out 1 row without a split, which others have (labels.csv, line 4)." in messages()

    root.file("sts.csv", "sentence1,sentence2,score,split\na,b,1,train\nc,d,2,\n")
    assert read_scored(str(root.path / "sts.csv"), "train").first == ("a",)
    assert "sts.csv: left out 1 row without a split, which others have (sts.csv, line 3)." in messages()


def test_shards_and_entries_without_a_split_are_told(root, messages):
    for name in ("train-0", "more-1"):
        tar(root, f"shards/{name}.tar", ("0.png", picture(kind="PNG")), ("0.txt", name))
    assert read_pairs(str(root.path / "shards"), "train").captions == ("train-0",)
    assert "left out 1 row without a split, which others have (more-1.tar, sample 0)." in messages()

    root.pictures("1.png", "2.png")
    entries = [{"filename": f"{n}.png", "sentences": [{"raw": "a"}, {"raw": "b"}]} for n in (1, 2)]
    entries[0]["split"] = "train"
    root.json("dataset_x.json", {"images": entries})
    assert captions(read_pairs(str(root.path / "dataset_x.json"), "train")) == [("1.png", "a"), ("1.png", "b")]
    assert "left out 2 rows without a split, which others have (dataset_x.json, images[1].sentences[0]" in messages()


def test_two_spellings_of_one_split_of_sentences_are_one(root, messages):
    root.file("sts.csv", "sentence1,sentence2,score,split\na,b,1,Train \nc,d,2,train\ne,f,3,test\n")
    for split in ("train", "Train "):
        assert read_scored(str(root.path / "sts.csv"), split).scores == (1.0, 2.0)
    assert "'Train ' (1 rows) and 'train' (1 rows) are read as one split" in messages()


def test_one_file_by_two_names_in_two_splits_is_told(root, messages):
    root.pictures("images/1.png", "images/2.png")
    names = [root.path / "images/1.png", "images/1.png", f"../{root.path.name}/images/1.png", "./1.png"]
    for number, name in enumerate(names[1:]):
        text = f"file,caption,split\n{names[0]},a,train\n{name},b,test\n2.png,c,train\n"
        source = str(root.file(f"{number}.csv", text).path / f"{number}.csv")
        key = str(names[0])
        assert captions(read_pairs(source, "test")) == [(key, "b")]
        line = messages()
        assert f"1 picture is named in two ways, and read as one ({str(name).removeprefix('./')} is {key})" in line
        assert f"1 picture lies in two splits, so what is scored was seen before: {key} in train and test" in line
        assert captions(read_pairs(source)) == [(key, "a"), (key, "b"), ("2.png", "c")]

    root.file("labels.csv", f"file,label,split\n1.png,a,train\n2.png,b,train\n{names[0]},a,test\n2.png,b,test\n")
    assert keys(read_labelled(str(root.path / "labels.csv"), "test")) == ["1.png", "2.png"]
    assert "1.png in train and test" in messages()
    root.json(
        "split_x.json", {"train": [["images/1.png", 0, "a"]], "test": [[str(names[0]), 0, "a"], ["2.png", 1, "b"]]}
    )
    assert keys(read_labelled(str(root.path / "split_x.json"), "test")) == ["images/1.png", "2.png"]
    assert "images/1.png in train and test" in messages()


def test_folders_of_one_split_in_two_spellings_are_read_as_one(root, messages):
    root.pictures("train/red/1.jpg", "Train/red/1.jpg", "test/red/3.jpg", "train/blue/1.jpg", "test/blue/2.jpg")
    assert keys(read_labelled(str(root.path), "train")) == ["Train/red/1.jpg", "train/blue/1.jpg", "train/red/1.jpg"]
    assert "d: the folders 'Train' and 'train' are read as one split." in messages()
    assert splits_of(str(root.path)) == ("Train", "test")


def test_a_pair_of_sentences_in_two_splits_is_told(root, messages):
    root.file("s.tsv", "split\tsentence1\tsentence2\tscore\ntrain\ta\tb\t5\ntest\tb\ta\t5\ntest\tc\td\t1\n")
    assert len(read_scored(str(root.path / "s.tsv"), "test").scores) == 2
    assert "s.tsv: 1 pair stands word for word in two splits: a / b in train and test." in messages()
