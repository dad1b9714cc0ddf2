"""What is seen in a folder, and what is told of the rest."""

import os
import unicodedata

import pytest
from miniatures import Root
from toy_data import captions, keys

from polyprompt.data.files import Places, first_there, pictures_in
from polyprompt.data.read import read_labelled, read_pairs
from polyprompt.errors import DataError


def test_hidden_files_and_folders_are_not_seen_anywhere(root, messages):
    root.pictures("red/1.png", "blue/1.png", "red/.ipynb_checkpoints/1-checkpoint.png", "red/a/._1.png", ".git/x/1.png")
    root.pictures("red/a/@eaDir/1.jpg", "red/__MACOSX/1.png")
    assert keys(read_labelled(str(root.path))) == ["blue/1.png", "red/1.png"]
    assert "d: left out 4 hidden (red/.ipynb_checkpoints/)" in messages()
    root.pictures("._a.png")
    assert [path.name for path in pictures_in(root.path)] == ["1.png", "1.png"]


def test_other_endings_are_told_with_their_numbers(root, messages):
    root.pictures("red/1.jfif", "blue/1.AVIF", "red/2.PSD", "blue/2.psd", "red/notes.txt")
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
    root.pictures("loose.png")
    read_labelled(str(root.path))
    assert "left out 1 picture beside the class folders (loose.png)" in messages()


def test_linked_folders_are_followed_and_loops_refused(root, tmp_path, messages):
    root.pictures("red/1.png", "blue/1.png")
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
    root.pictures("red/1.png", "blue/1.png")
    os.rename(os.fsencode(root.path / "red/1.png"), os.fsencode(root.path) + b"/red/caf\xe9.png")
    data = read_labelled(str(root.path))
    assert keys(data) == ["blue/1.png", r"red/caf\xe9.png"]
    assert data.pictures[1].open().size == (3, 2)
    os.rename(os.fsencode(root.path) + b"/red", os.fsencode(root.path) + b"/r\xe9d")
    with pytest.raises(DataError, match=r"class name: letter 1, .* is half a character"):
        read_labelled(str(root.path))


def test_paths_written_on_windows(root, messages):
    root.pictures("red/1.png").file("captions.csv", "file,caption\nred\\1.png,a\n")
    assert captions(read_pairs(str(root.path))) == [("red/1.png", "a")]
    assert r"1 path with \ read with / instead (red/1.png)" in messages()
    root.file("captions.csv", "file,caption\nred\\2.png,a\n")
    with pytest.raises(DataError, match=r"it is written with \\, as on Windows; / was tried, too"):
        read_pairs(str(root.path))


def test_two_dots_after_a_link_lead_where_the_system_says(root, tmp_path):
    root.pictures("1.png", "2.png")
    other = Root(tmp_path / "other").pictures("in/x.png").file("1.png", b"another")
    (root.path / "linked").symlink_to(other.path / "in")
    places = Places(root.path / "list.csv")
    found = [places.find(name) for name in ("1.png", "linked/../1.png", "linked/../../d/1.png")]
    assert [(picture.key, picture.read() == b"another") for picture in found if picture] == [
        ("1.png", False),
        ("linked/../1.png", True),
        ("1.png", False),
    ]


def test_pictures_outside_the_folder_of_their_list_are_told(root, tmp_path, messages):
    root.pictures("images/1.png", "a/1.png")
    Root(tmp_path).pictures("secret.png", "far/2.png")
    (root.path / "linked.png").symlink_to(tmp_path / "secret.png")
    (root.path / "within.png").symlink_to(root.path / "a" / "1.png")
    names = ("1.png", "a/../a/1.png", "within.png", "linked.png", "../secret.png", str(tmp_path / "far/2.png"))
    root.file("captions.csv", "file,caption\n" + "".join(f"{name},a\n" for name in (*names, "../secret.png")))
    assert len(read_pairs(str(root.path)).images) == 6
    far = f"linked.png, ../secret.png, {tmp_path / 'far/2.png'}"
    assert f"captions.csv: 3 pictures lie outside its folder ({far})." in messages()
    read_pairs(str(root.path), "train")
    assert "outside" not in messages()


def test_a_linked_folder_of_pictures_beside_a_list_is_told(root, tmp_path, messages):
    Root(tmp_path / "disk").pictures("1.png", "2.png")
    root.file("x.token.txt", "1.png#0\ta\n1.png#1\tb\n2.png#0\tc\n")
    (root.path / "images").symlink_to(tmp_path / "disk")
    read_pairs(str(root.path))
    assert "x.token.txt: 2 pictures lie outside its folder (1.png, 2.png)." in messages()


def test_pictures_where_a_layout_has_them_are_not_outside(root, messages):
    root.pictures("val2017/1.png", "images/2.png")
    images = [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}]
    root.json("annotations/captions_val2017.json", {
        "images": images, "annotations": [{"image_id": n, "caption": "a"} for n in (1, 2)],
    })  # fmt: skip
    assert len(read_pairs(str(root.path)).images) == 2
    assert "outside" not in messages()


def test_a_picture_in_two_usual_folders_is_told(root, messages):
    root.pictures("images/1.jpg", "images/2.jpg", "imgs/1.jpg").file("Captions.csv", "file,caption\n1.jpg,a\n2.jpg,b\n")
    (root.path / "photos").symlink_to(root.path / "images")
    assert captions(read_pairs(str(root.path))) == [("1.jpg", "a"), ("2.jpg", "b")]
    line = "Captions.csv: 1 picture lies in several folders; what was read is images/1.jpg, not imgs/1.jpg."
    assert line in messages()


def test_another_folder_that_may_be_meant_is_told(root, messages):
    root.pictures("set-1/1.jpg", "set1/1.jpg", "set-1/images/1.jpg")
    places = [root.path / name for name in ("gone", "set-1", ".", "set-1/images")]
    assert first_there(places) == root.path / "set-1"
    assert messages() == ""
    assert first_there([*places, root.path / "set1"]) == root.path / "set-1"
    assert f"set-1: is read, and passed over what may be meant, too: {root.path / 'set1'}." in messages()


@pytest.mark.parametrize(("written", "there"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_a_name_is_found_in_either_spelling_of_its_accents(tmp_path, written, there):
    name = "caf\u00e9/\u00fc.png"
    root = Root(tmp_path).pictures(unicodedata.normalize(there, name))
    picture = Places(root.path / "list.csv").find(unicodedata.normalize(written, name))
    assert picture is not None
    assert picture.key == unicodedata.normalize(written, name)
    assert picture.read()
