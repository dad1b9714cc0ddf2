"""COCO's own captions."""

import pytest
from miniatures import picture
from toy_data import captions

from polyprompt.data.read import read_pairs
from polyprompt.errors import DataError


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


def one_picture(name: str, caption: str) -> dict:
    return {"images": [{"id": 1, "file_name": name}], "annotations": [{"image_id": 1, "caption": caption}]}


def test_equal_names_in_the_folders_of_two_files_are_two_pictures(root):
    for part, colour in (("web", (255, 0, 0)), ("cc", (0, 0, 255))):
        root.json(f"captions_{part}.json", one_picture("0.png", part))
        root.file(f"{part}/0.png", picture(colour, "PNG"))
    pairs = read_pairs(str(root.path))
    assert captions(pairs) == [("cc/0.png", "cc"), ("web/0.png", "web")]
    assert [image.open().getpixel((0, 0)) for image in pairs.images] == [(0, 0, 255), (255, 0, 0)]


def test_a_picture_in_a_folder_that_two_files_share_is_one(root, messages):
    root.json("annotations/captions_en.json", one_picture("0.png", "cat"))
    root.json("annotations/captions_de.json", one_picture("0.png", "Katze")).pictures("images/0.png")
    assert captions(read_pairs(str(root.path))) == [("0.png", "Katze"), ("0.png", "cat")]
    for language, split in (("en", "train2017"), ("de", "val2017")):
        (root.path / f"annotations/captions_{language}.json").rename(root.path / f"annotations/captions_{split}.json")
    assert captions(read_pairs(str(root.path), "val")) == [("0.png", "Katze")]
    assert "1 picture lies in two splits, so what is scored was seen before: 0.png in train and val" in messages()


def test_an_id_with_two_file_names_is_refused(root):
    content = one_picture("a.png", "cat")
    content["images"].append({"id": 1, "file_name": "a.png"})
    root.json("captions_val2017.json", content).pictures("val2017/a.png", "val2017/b.png")
    assert captions(read_pairs(str(root.path))) == [("val2017/a.png", "cat")]
    content["images"].append({"id": 1, "file_name": "b.png"})
    root.json("captions_val2017.json", content)
    with pytest.raises(DataError, match=r"images\[2\]: id 1 is 'b.png' here, but 'a.png' before; whose the captions"):
        read_pairs(str(root.path / "captions_val2017.json"))


def test_captions_are_found_in_any_case(root):
    images, annotations = [{"id": 1, "file_name": "0.jpg"}], [{"image_id": 1, "caption": "c"}]
    root.pictures("val2017/0.jpg").json("Captions_val2017.json", {"images": images, "annotations": annotations})
    assert captions(read_pairs(str(root.path), "val")) == [("val2017/0.jpg", "c")]
