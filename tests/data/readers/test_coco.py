"""COCO's own captions."""

import pytest
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
