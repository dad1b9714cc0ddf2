"""Data sets of the Hugging Face library, saved ones and those of the hub."""

from pathlib import Path

import datasets
import pytest
from toy_data import COLOURS, by_key, one_line, png

from polyprompt.data.read import read_labelled, read_pairs, read_scored
from polyprompt.errors import DataError, ImageError


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


def test_without_datasets_the_package_is_named(not_installed):
    not_installed("datasets")
    with pytest.raises(DataError, match=r"package datasets; pip install '\.\[data\]'"):
        read_pairs("hf:who/what")


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


def test_cells_that_are_null(tmp_path, capsys):
    images = [{"bytes": png(n), "path": None} for n in range(2)]
    source = saved(tmp_path / "a", {"photo": images, "text": ["a", "b"], "split": ["train", None]})
    assert read_pairs(source, "train").captions == ("a",)
    assert "saved: left out 1 row without a split, which others have" in capsys.readouterr().err
    for name, column in (("b", "label"), ("c", "class_name")):
        source = saved(tmp_path / name, {"photo": images, column: ["cat", None]})
        with pytest.raises(DataError, match=r"saved, row 1: the class of row/1 is empty"):
            read_labelled(source)
    source = saved(tmp_path / "d", {"sentence1": ["a", "b"], "sentence2": ["a", None], "score": ["1", "2"]})
    with pytest.raises(DataError, match=r"saved, row 1: sentence2 is None; give a text"):
        read_scored(source)


def test_a_cell_of_more_bytes_than_a_picture_may_have(tmp_path, monkeypatch):
    images = [{"bytes": png(0), "path": None}, {"bytes": png(1) + bytes(1000), "path": None}]
    first, second = read_pairs(saved(tmp_path, {"photo": images, "text": ["a", "b"]})).images
    monkeypatch.setattr("polyprompt.media.pictures.MAX_BYTES", 1000)
    assert first.open().size == (2, 2)
    with pytest.raises(ImageError, match=r"^row/1: cannot be read \(more than 1,000 bytes\)"):
        second.open()


def test_second_columns_and_classes_without_pictures_are_told(tmp_path, capsys):
    images = [{"bytes": png(n), "path": None} for n in range(2)]
    source = saved(tmp_path, {"photo": images, "caption": ["a", "b"], "text": ["c", "d"], "title": ["e", "f"]})
    assert read_pairs(source).captions == ("a", "b")
    assert f"{source}: 'caption' is read, 'text', 'title' is passed over." in capsys.readouterr().err
    names = datasets.ClassLabel(names=["cat", "dog", "bird"])
    types = {"photo": datasets.Image(), "label": names, "category": datasets.Value("string")}
    columns = {"photo": images, "label": [0, 1], "category": ["x", "y"]}
    datasets.Dataset.from_dict(columns, features=datasets.Features(types)).save_to_disk(str(tmp_path / "labels"))
    assert read_labelled(str(tmp_path / "labels")).class_names == ("cat", "dog")
    told = capsys.readouterr().err
    assert "labels: 'label' is read, 'category' is passed over." in told
    assert "labels: 1 class without a picture (bird)." in told
    columns = {"sentence1": ["a"], "sentence2": ["b"], "score": [1.0], "similarity": [5.0]}
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "sts"))
    assert read_scored(str(tmp_path / "sts")).scores == (1.0,)
    assert "sts: 'score' is read, 'similarity' is passed over." in capsys.readouterr().err


def test_saved_splits_are_no_class_folders(tmp_path, capsys):
    images = [{"bytes": png(n), "path": None} for n in range(2)]
    source = saved(tmp_path, {"photo": images, "label": ["cat", "dog"]}, splits=True)
    assert read_labelled(source, "train").class_names == ("cat", "dog")
    assert capsys.readouterr().err.count("passed over") == 0
    source = saved(tmp_path / "captions", {"photo": images, "caption": ["cat", "dog"]}, splits=True)
    with pytest.raises(DataError, match=r"holds captions, no labels"):
        read_labelled(source, "train")
    assert "passed over" not in capsys.readouterr().err
