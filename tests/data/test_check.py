"""`check` says what is missing, and where it looked."""

import pytest
from miniatures import Root, picture

from polyprompt.data.check import Finding, check
from polyprompt.errors import UnknownNameError


@pytest.fixture
def root(tmp_path) -> Root:
    root = Root(tmp_path)
    root.pictures(*(f"eurosat/2750/{name}/{i}.jpg" for name in ("Forest", "River") for i in range(3)))
    entries = [[f"{name}/{i}.jpg", label, name] for label, name in enumerate(("Forest", "River")) for i in range(3)]
    return root.json(
        "eurosat/split_zhou_EuroSAT.json", {"train": entries[:4], "val": entries[4:5], "test": entries[5:]}
    )


def result(findings: list[Finding]) -> dict[str, str]:
    return {one.what: one.result for one in findings}


def test_counts_classes_and_pictures(root):
    found = check("eurosat", root.path)
    assert result(found) == {
        "train": "4 of 13,500 pictures; 2 classes of 10",
        "val": "1 of 5,400 pictures",
        "test": "1 of 8,100 pictures",
    }
    assert not any(one.whole for one in found)


def test_missing_and_unreadable_pictures(root):
    (root.path / "eurosat/2750/Forest/0.jpg").unlink()
    root.pictures("eurosat/2750/River/2.jpg", data=picture(size=(64, 64))[:300])
    found = result(check("EuroSAT", root.path / "eurosat"))
    assert "1 picture is missing (Forest/0.jpg)" in found["train"]
    assert "1 picture of the sample cannot be read (River/2.jpg: " in found["test"]
    assert "cannot be read" not in result(check("eurosat", root.path, sample=0))["test"]


def test_where_was_looked_where_no_picture_is_found(root):
    """As Kaggle packs it, and as a browser fetches it."""
    (root.path / "eurosat/2750").rename(root.path / "eurosat/EuroSAT")
    root.file("eurosat/EuroSAT.zip", b"PK")
    for one in check("eurosat", root.path):
        assert one.result == (
            f"{root.path}/eurosat: none of the 6 pictures of split_zhou_EuroSAT.json is there; looked in "
            f"{root.path}/eurosat/2750. {root.path}/eurosat holds EuroSAT.zip; unpack what is meant."
        )


def test_a_first_picture_that_is_missing_hides_no_other(root):
    """In the place that torchvision has them, the second of two."""
    rows = {"train": [["a/0.jpg", 0, "a"], ["a/1.jpg", 0, "a"], ["b/0.jpg", 1, "b"]]}
    root.json("dtd/split_zhou_DescribableTextures.json", rows)
    root.pictures("dtd/dtd/images/a/1.jpg", "dtd/dtd/images/b/0.jpg")
    assert "2 of 2,820 pictures; 1 picture is missing (a/0.jpg); " in result(check("dtd", root.path))["train"]


def test_the_sample_lies_evenly_over_the_whole_split(root):
    names = [f"Forest/{i}.jpg" for i in range(19)]
    root.pictures(*(f"eurosat/2750/{name}" for name in names))
    entries = [[name, 0, "Forest"] for name in names]
    root.json("eurosat/split_zhou_EuroSAT.json", {"train": [["River/0.jpg", 1, "River"]], "val": [], "test": entries})
    opened = set()
    for i, name in enumerate(names):
        root.pictures(f"eurosat/2750/{name}", data=b"")
        opened |= {i} if "cannot be read" in result(check("eurosat", root.path, sample=10))["test"] else set()
        root.pictures(f"eurosat/2750/{name}")
    assert len(opened) == 10
    assert max(opened) - min(opened) >= 16


def test_a_set_that_is_not_there_says_where_it_was_looked_for(root):
    for one in check("dtd", root.path):
        assert f"dtd: not there; looked for {root.path}/dtd or {root.path}/dtd10" in one.result
    (finding,) = check("pacs:photo", root.path)
    assert finding.what == "photo"
    assert "PACS" in finding.result
    with pytest.raises(UnknownNameError, match="Did you mean 'eurosat'"):
        check("eurosatt", root.path)


def test_a_whole_set_is_whole(root):
    lines = "".join(f"{i}\tx\n" for i in range(1186))
    root.file("STS/STS16-en-test/STS.input.a.txt", lines).file("STS/STS16-en-test/STS.gs.a.txt", "3\n" * 1186)
    assert check("sts16", root.path) == [Finding("test", "1,186 pairs", True)]


def test_captions_are_counted(root):
    root.pictures("flickr8k/1.jpg")
    images = [{"filename": "1.jpg", "split": "test", "sentences": [{"raw": "a"}]}]
    root.json("flickr8k/dataset_flickr8k.json", {"images": images})
    assert result(check("flickr8k", root.path))["test"] == "1 of 1,000 pictures; 1 caption of 5,000"


def test_classes_are_counted_where_all_should_be(root):
    root.pictures(
        "imagenet-a/n01498041/1.jpg", "imagenet-a/n01531178/1.jpg", "PACS/photo/dog/1.jpg", "PACS/photo/cat/1.jpg"
    )
    assert result(check("imagenet-a", root.path)) == {"test": "2 of 7,500 pictures; 2 classes of 200"}
    assert result(check("pacs:photo", root.path)) == {"photo": "2 of 1,670 pictures; 2 classes of 7"}
