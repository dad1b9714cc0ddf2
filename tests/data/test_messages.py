"""Nothing is left out, merged, cut or guessed without a word: what people's files hold, and what is said."""

import io
import json
import os
import tarfile

import pytest
from miniatures import Root, picture

from polyprompt.data.files import pictures_in
from polyprompt.data.items import Labelled, Pairs
from polyprompt.data.names import check_class_names
from polyprompt.data.read import read_labelled, read_pairs, splits_of
from polyprompt.data.source import kinds_of
from polyprompt.errors import DataError, UnknownNameError


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(tmp_path / "d")


@pytest.fixture
def messages(capsys):
    """What was told since it was asked last."""
    return lambda: capsys.readouterr().err


def keys(data: Labelled) -> list[str]:
    return [picture.key for picture in data.pictures]


def captions(pairs: Pairs) -> list[tuple[str, str]]:
    return [(pairs.images[i].key, text) for i, text in zip(pairs.image_of, pairs.captions, strict=True)]


def red(root: Root, *names: str) -> Root:
    return root.pictures(*names)


# Split folders


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
    red(root, f"{first}/red/1.png", f"{first}/blue/1.png", f"{second}/red/1.png", f"{second}/blue/2.png")
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
    red(root, "train/1.png", "car/1.png", "bus/1.png")
    assert read_labelled(str(root.path)).class_names == ("bus", "car", "train")
    assert splits_of(str(root.path)) == ()


def test_splits_without_class_folders_and_other_folders_beside_them(root, messages):
    red(root, "train/red/1.png", "train/blue/1.png", "val/1.png", "annotations/x.txt")
    with pytest.raises(DataError, match="d/val: is called like a split, but has no class folders in it"):
        read_labelled(str(root.path), "train")
    red(root, "val/red/1.png", "val/blue/1.png")
    (root.path / "val/1.png").unlink()
    assert len(read_labelled(str(root.path), "val").pictures) == 2
    assert "d: left out annotations; train and val are its splits" in messages()


def test_split_folders_may_hold_lists_of_captions(root):
    red(root, "train/1.png", "validation/1.png")
    root.file("train/metadata.csv", "file_name,text\n1.png,a\n")
    root.file("validation/metadata.csv", "file_name,text\n1.png,b\n")
    assert captions(read_pairs(str(root.path), "dev")) == [("validation/1.png", "b")]
    assert len(read_pairs(str(root.path)).images) == 2


def test_folders_that_all_hold_the_same_folders_are_told(root, messages):
    red(root, *(f"{domain}/{name}/1.png" for domain in ("art", "photo") for name in ("cat", "dog")))
    assert read_labelled(str(root.path)).class_names == ("art", "photo")
    assert "art, photo are read as classes, but all hold the folders cat, dog" in messages()


@pytest.mark.parametrize(
    ("given", "asked"), [("Train", "train"), ("Validation", "dev"), ("TEST", "test"), ("VAL", "valid")]
)
def test_split_names_in_a_table_are_found_whatever_their_case(root, given, asked):
    red(root, "1.png").file("captions.csv", f"file,caption,split\n1.png,a,{given}\n")
    assert captions(read_pairs(str(root.path), asked)) == [("1.png", "a")]
    root.file("labels.csv", f"file,label,split\n1.png,cat,{given}\n2.png,dog,{given}\n").pictures("2.png")
    assert len(read_labelled(str(root.path / "labels.csv"), asked).pictures) == 2


def test_two_spellings_of_one_split_are_one_and_two_splits_of_one_meaning_are_asked_about(root, messages):
    red(root, "1.png", "2.png").file("captions.csv", "file,caption,split\n1.png,a,Train\n2.png,b,train\n")
    assert len(read_pairs(str(root.path), "train").images) == 2
    assert "'Train' (1 rows) and 'train' (1 rows) are read as one split" in messages()
    root.file("captions.csv", "file,caption,split\n1.png,a,dev\n2.png,b,val\n")
    assert captions(read_pairs(str(root.path), "val")) == [("2.png", "b")]
    with pytest.raises(DataError, match="'validation' may be 'dev' or 'val'; name the one that is meant"):
        read_pairs(str(root.path), "validation")


def test_a_picture_in_two_splits_is_told(root, messages):
    red(root, "1.png", "2.png")
    root.file("captions.csv", "file,caption,split\n1.png,a,train\n1.png,b,test\n2.png,c,train\n")
    assert captions(read_pairs(str(root.path), "test")) == [("1.png", "b")]
    assert "1 picture lies in two splits, so what is scored was seen before: 1.png in train and test" in messages()
    root.json("split_x.json", {"train": [["1.png", 0, "a"], ["2.png", 1, "b"]], "test": [["2.png", 1, "b"]]})
    (root.path / "captions.csv").unlink()
    read_labelled(str(root.path), "test")
    assert "2.png in train and test" in messages()


# Folders


def test_hidden_files_and_folders_are_not_seen_anywhere(root, messages):
    red(root, "red/1.png", "blue/1.png", "red/.ipynb_checkpoints/1-checkpoint.png", "red/a/._1.png", ".git/x/1.png")
    red(root, "red/a/@eaDir/1.jpg", "red/__MACOSX/1.png")
    assert keys(read_labelled(str(root.path))) == ["blue/1.png", "red/1.png"]
    assert "d: left out 4 hidden (red/.ipynb_checkpoints/)" in messages()
    red(root, "._a.png")
    assert [path.name for path in pictures_in(root.path)] == ["1.png", "1.png"]


def test_other_endings_are_told_with_their_numbers(root, messages):
    red(root, "red/1.jfif", "blue/1.AVIF", "red/2.PSD", "blue/2.psd", "red/notes.txt")
    assert len(read_labelled(str(root.path)).pictures) == 2
    assert "d: left out 2 .psd, 1 .txt (blue/2.psd, red/notes.txt); no pictures by their names" in messages()
    assert len(pictures_in(root.path)) == 2
    for name in ("captions.csv", "manifest.json", "classnames.txt", "dataset_flickr8k.json", "split_zhou_EuroSAT.json"):
        (root.path / "red" / name).write_text("")
    assert len(pictures_in(root.path)) == 2
    assert messages() == ""  # what our own layouts have beside pictures
    (root.path / "red" / "prices.csv").write_text("")
    assert len(pictures_in(root.path)) == 2
    assert "left out 1 .csv, 2 .psd, 1 .txt (red/prices.csv, blue/2.psd, red/notes.txt)" in messages()
    red(root, "loose.png")
    read_labelled(str(root.path))
    assert "left out 1 picture beside the class folders (loose.png)" in messages()


def test_linked_folders_are_followed_and_loops_refused(root, tmp_path, messages):
    red(root, "red/1.png", "blue/1.png")
    Root(tmp_path / "more").pictures("2.png", "3.png")
    os.symlink(tmp_path / "more", root.path / "red" / "part2")
    assert keys(read_labelled(str(root.path))) == ["blue/1.png", "red/1.png", "red/part2/2.png", "red/part2/3.png"]
    assert len(pictures_in(root.path)) == 4
    os.symlink(tmp_path / "more", root.path / "blue" / "again")
    read_labelled(str(root.path))
    assert "linked twice, so its pictures count twice: red/part2" in messages()
    os.symlink(tmp_path / "nowhere.png", root.path / "red" / "gone.png")
    read_labelled(str(root.path))
    assert "1 broken link (red/gone.png)" in messages()
    os.symlink(root.path, root.path / "red" / "loop")
    with pytest.raises(DataError, match="red/loop: a link back to a folder that it lies in; remove it"):
        read_labelled(str(root.path))


def test_names_that_are_not_utf_8_are_read_and_can_be_written(root):
    red(root, "red/1.png", "blue/1.png")
    os.rename(os.fsencode(root.path / "red/1.png"), os.fsencode(root.path) + b"/red/caf\xe9.png")
    data = read_labelled(str(root.path))
    assert keys(data) == ["blue/1.png", r"red/caf\xe9.png"]
    assert data.pictures[1].open().size == (3, 2)
    os.rename(os.fsencode(root.path) + b"/red", os.fsencode(root.path) + b"/r\xe9d")
    with pytest.raises(DataError, match=r"class name: letter 1, .* is half a character"):
        read_labelled(str(root.path))


@pytest.mark.parametrize("name", ["0", "n01440764", "12.5", "-"])
def test_folders_called_by_numbers_or_codes_need_names(root, name, messages):
    red(root, f"{name}/1.png", "blue/1.png")
    with pytest.raises(DataError, match=rf"the label is {name}, .*a text model needs names.* a file classnames.txt"):
        read_labelled(str(root.path))
    root.file("classnames.txt", f"{name} tench\nblue blue\n")
    assert read_labelled(str(root.path)).class_names == ("tench", "blue")  # in the order of the list
    root.file("classnames.txt", f"{name} 7\nblue blue\n")
    read_labelled(str(root.path))
    assert "1 class is called by numbers or signs (7); prompts say them as they are" in messages()


@pytest.mark.parametrize("name", ["001.Black_footed_Albatross", "n02085620-Chihuahua", "03-cat", "12_a"])
def test_numbers_before_names_are_told(root, name, messages):
    red(root, f"{name}/1.png", "dog/1.png", "3d printer/1.png", "42nd street/1.png", "7 up/1.png")
    read_labelled(str(root.path))
    assert (
        f"1 class has a number before its name ({name}), and prompts say it, too; a file classnames.txt" in messages()
    )


@pytest.mark.parametrize("name", ["class_1", "Class 02", "cls-3", "label7", "c4", "category_10"])
def test_folders_that_only_count_are_told_with_a_way_to_name_them(root, name, messages):
    red(root, f"{name}/1.png", "cat/1.png", "mig29/1.png", "area 51/1.png")
    assert name in read_labelled(str(root.path)).class_names
    message = messages()
    assert f"1 class has a number in the place of a name ({name}), which says nothing to a text model" in message
    root.file("classnames.txt", f"{name} tench\ncat cat\nmig29 mig29\narea 51 area 51\n".replace(" 5", "_5"))
    (root.path / "area 51").rename(root.path / "area_51")
    if " " not in name:
        assert "tench" in read_labelled(str(root.path)).class_names
        assert "in the place of a name" not in messages()


def test_a_caption_in_two_splits_is_told(root, messages):
    red(root, "1.png", "2.png", "3.png")
    root.file("captions.csv", "file,caption,split\n1.png,a dog,train\n2.png,a dog,test\n3.png,a cat,test\n")
    assert captions(read_pairs(str(root.path), "test")) == [("2.png", "a dog"), ("3.png", "a cat")]
    assert "1 caption stands word for word in two splits: 'a dog' in train and test." in messages()


def test_a_list_of_names_has_to_be_whole(root):
    red(root, "0/1.png", "1/1.png")
    for text, words in (
        ("0 cat\n", "classnames.txt does not name this folder"),
        ("0 cat\n1\n", r"classnames.txt, line 2: '1' has no class name"),
        ("0 cat\n0 dog\n", r"line 2: the folder '0' has a name already"),
        ("0 cat\n1 Cat\n", "'cat' and 'Cat' have one name"),
    ):
        root.file("classnames.txt", text)
        with pytest.raises(DataError, match=words):
            read_labelled(str(root.path))


def test_the_order_of_a_table_with_numbers_is_theirs(root):
    red(root, "1.png", "2.png", "3.png")
    root.file("t.csv", "file,label,class_name\n1.png,10,ant\n2.png,2,zebra\n3.png,1,emu\n")
    assert read_labelled(str(root.path / "t.csv")).class_names == ("emu", "zebra", "ant")


def test_class_names_that_cannot_be():
    for names, words in (
        ("lynx", r"the class names are one text, 'lynx'; give a list: \['lynx', ...\]"),
        (["cat"], r"1 class \(cat\); telling classes apart needs at least two"),
        (["cat", " "], "class name ' ' is empty"),
        (["cat", "a\ud800"], "letter 1, .* is half a character"),
        (["hot_dog", "Hot  dog"], "'hot_dog' and 'Hot  dog' have one name"),
        (["café", "cafe\u0301"], "have one name"),
    ):
        with pytest.raises(DataError, match=words):
            check_class_names(names)
    assert check_class_names(["tench, Tinca tinca", "goldfish"]) == ("tench, Tinca tinca", "goldfish")
    assert check_class_names(["missile", "missile"], twins=["missile"]) == ("missile", "missile")


def test_a_list_of_classes_written_as_text_is_refused(root):
    red(root, "1.png", "2.png").file("t.csv", "path,label\n1.png,\"['cat', 'dog']\"\n2.png,dog\n")
    with pytest.raises(DataError, match=r"t.csv, line 2: the class is a list written as text"):
        read_labelled(str(root.path / "t.csv"))


# Lists of captions


def test_cocos_own_captions(root):
    content = {
        "images": [{"id": 9, "file_name": "a.jpg"}, {"id": 4, "file_name": "b.jpg"}, {"id": 5, "file_name": "c.jpg"}],
        "annotations": [{"image_id": 4, "id": 1, "caption": "a cat"}, {"image_id": 9, "id": 2, "caption": "a dog "}],
    }
    root.json("annotations/captions_val2017.json", content).pictures("val2017/a.jpg", "val2017/b.jpg")
    expected = [("val2017/b.jpg", "a cat"), ("val2017/a.jpg", "a dog")]
    for source in ("annotations/captions_val2017.json", "."):
        assert captions(read_pairs(str(root.path / source))) == expected
        assert captions(read_pairs(str(root.path / source), "dev")) == expected
    content["annotations"].append({"image_id": 77, "id": 3, "caption": "?"})
    root.json("annotations/captions_val2017.json", content)
    with pytest.raises(DataError, match=r"annotations\[2\]: image_id 77 is not among the images"):
        read_pairs(str(root.path))


def test_kaggles_and_flickrs_own_files(root, messages):
    red(root, "Images/1.jpg", "Images/2.jpg")
    root.file("captions.txt", 'image,caption\n1.jpg,A child .\n2.jpg,"A dog , running ."\n')
    expected = [("1.jpg", "A child ."), ("2.jpg", "A dog , running .")]
    for source in ("captions.txt", ""):
        assert captions(read_pairs(str(root.path / source))) == expected
    (root.path / "captions.txt").unlink()
    root.file("results.csv", "image_name| comment_number| comment\n1.jpg| 0| A child .\n2.jpg| 0| A dog , running .\n")
    assert captions(read_pairs(str(root.path))) == expected
    (root.path / "results.csv").unlink()
    root.file("Flickr8k.token.txt", "1.jpg#0\tA child .\n2.jpg#0\tA dog , running .\n3.jpg.1#0\tx\n3.jpg.1#1\ty\n")
    root.file("Flickr_8k.trainImages.txt", "1.jpg\n").file("Flickr_8k.testImages.txt", "2.jpg\n")
    assert captions(read_pairs(str(root.path))) == expected
    assert captions(read_pairs(str(root.path / "Flickr8k.token.txt"), "test")) == expected[1:]
    assert "left out 2 captions of 3.jpg.1, a picture that does not exist" in messages()


def test_paths_written_on_windows(root, messages):
    red(root, "red/1.png").file("captions.csv", "file,caption\nred\\1.png,a\n")
    assert captions(read_pairs(str(root.path))) == [("red/1.png", "a")]
    assert r"1 path with \ read with / instead (red/1.png)" in messages()
    root.file("captions.csv", "file,caption\nred\\2.png,a\n")
    with pytest.raises(DataError, match=r"it is written with \\, as on Windows; / was tried, too"):
        read_pairs(str(root.path))


@pytest.mark.parametrize("cell", ["['a red square', 'red']", '["a"]', "('a', 'b')", "{'caption': 'a'}"])
def test_a_list_written_as_text_is_refused(root, cell):
    quoted = cell.replace('"', '""')
    red(root, "1.png").file("captions.csv", f'file,caption\n1.png,"{quoted}"\n')
    with pytest.raises(DataError, match=r"captions.csv, line 2: the caption is a list written as text"):
        read_pairs(str(root.path))
    root.file("captions.csv", 'file,caption\n1.png,"[laughs], (in red)"\n')
    assert read_pairs(str(root.path)).captions == ("[laughs], (in red)",)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("1.png\tnan\n", "1 caption may stand for none (captions.tsv, line 2: 'nan')"),
        ('1.png\t"a ""red"" one"\n', "1 caption keep a csv's doubled quotes"),
        ("1.png\tb'a red one'\n", "1 caption are bytes as Python writes them"),
        ("1.png\tred &amp; blue\n", "1 caption hold signs as HTML writes them"),
        ("1.png\tcafÃ©\n", "1 caption look like text read in a wrong encoding"),
        ("1.png\ta dog\n1.png\ta dog \n", "1 caption repeats another one of the same picture (1.png: 'a dog')"),
    ],
)
def test_captions_that_look_damaged_are_told_and_kept(root, table, words, messages):
    red(root, "1.png").file("captions.tsv", f"file\tcaption\n{table}")
    assert len(read_pairs(str(root.path)).captions) == table.count("\n")
    assert words in messages()


def test_several_columns_that_could_be_meant_are_told_and_twins_refused(root, messages):
    red(root, "1.png").file("captions.csv", "file,text,caption\n1.png,a,b\n")
    assert read_pairs(str(root.path)).captions == ("b",)
    assert "captions.csv: 'caption' is read, 'text' is passed over" in messages()
    root.file("captions.csv", "file,caption,caption\n1.png,a,b\n")
    with pytest.raises(DataError, match="two columns are called 'caption'"):
        read_pairs(str(root.path))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"train": 3, "x": [[[1]]]}', "[1, 2]", '{"train": [["a.png", 0, "\\ud800"]]}']
)
def test_json_that_is_something_else_gives_one_line(root, text):
    red(root, "a.png").file("split_x.json", text)
    for source in (root.path, root.path / "split_x.json"):
        with pytest.raises(DataError, match=r"split_x.json|no labels"):
            read_labelled(str(source), "train")


# Tars


def tar(root: Root, name: str, *members: tuple[str, bytes | str]) -> None:
    path = root.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for member, data in members:
            info = tarfile.TarInfo(member)
            data = data.encode() if isinstance(data, str) else data
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


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


def test_class_folders_beside_captions_are_labels_and_the_captions_captions(root, messages):
    red(root, "red/1.png", "blue/1.png").file("captions.csv", "file,caption\nred/1.png,a red square\n")
    assert read_labelled(str(root.path)).class_names == ("blue", "red")
    assert captions(read_pairs(str(root.path))) == [("red/1.png", "a red square")]
    assert set(kinds_of(str(root.path))) == {"captions", "labels"}
    root.json("dataset_x.json", {"images": []})
    with pytest.raises(DataError, match=r"may be Karpathy's JSON .* or a table .*; name the file that is meant"):
        read_pairs(str(root.path))
    with pytest.raises(DataError, match=r"d: holds labels, no captions|no captions"):
        read_pairs(str(root.path / "red"))


def test_the_name_of_a_set_is_never_empty(root, cd):
    red(root, "red/1.png", "blue/1.png")
    cd(root.path)
    assert read_labelled(".").name == "d"
    assert json.dumps(read_labelled(".").name)
