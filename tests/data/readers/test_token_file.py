"""Flickr's own lists of captions."""

import pytest
from toy_data import captions

from polyprompt.data.read import read_pairs
from polyprompt.errors import DataError


def test_flickrs_own_files(root, messages):
    root.pictures("Images/1.jpg", "Images/2.jpg")
    root.file("Flickr8k.token.txt", "1.jpg#0\tA child .\n2.jpg#0\tA dog , running .\n3.jpg.1#0\tx\n3.jpg.1#1\ty\n")
    root.file("Flickr_8k.trainImages.txt", "1.jpg\n").file("Flickr_8k.testImages.txt", "2.jpg\n")
    expected = [("1.jpg", "A child ."), ("2.jpg", "A dog , running .")]
    assert captions(read_pairs(str(root.path))) == expected
    assert captions(read_pairs(str(root.path / "Flickr8k.token.txt"), "test")) == expected[1:]
    assert "left out 2 captions of 3.jpg.1, a picture that does not exist" in messages()


def test_flickr8ks_folder_of_texts_as_it_is_published(root, messages):
    root.pictures("Flicker8k_Dataset/1.jpg").file("Flickr8k_text/Flickr8k.token.txt", "1.jpg#0\tA dog runs .\n")
    root.file("Flickr8k_text/Flickr8k.lemma.token.txt", "1.jpg#0\tA dog run .\n")
    assert captions(read_pairs(str(root.path / "Flickr8k_text"))) == [("1.jpg", "A dog runs .")]
    line = "Flickr8k.token.txt is read, Flickr8k.lemma.token.txt of the same captions is left out."
    assert f"Flickr8k_text: {line}" in messages()
    lemmas = str(root.path / "Flickr8k_text/Flickr8k.lemma.token.txt")
    assert captions(read_pairs(lemmas)) == [("1.jpg", "A dog run .")]
    assert line not in messages()


def test_the_shadows_of_macos_are_no_lists(root):
    root.pictures("Images/1.jpg").file("Flickr8k.token.txt", "1.jpg#0\tA child .\n")
    root.file("Flickr_8k.trainImages.txt", "1.jpg\n")
    root.file("._Flickr8k.token.txt", b"\0\5\xff").file("._Flickr_8k.trainImages.txt", b"\0\5\xff")
    assert captions(read_pairs(str(root.path), "train")) == [("1.jpg", "A child .")]


def test_paths_written_on_windows(root, messages):
    root.pictures("a/1.jpg").file("x.token.txt", "a\\1.jpg#0\tA child .\n")
    assert captions(read_pairs(str(root.path))) == [("a/1.jpg", "A child .")]
    assert r"x.token.txt: 1 path with \ read with / instead (a/1.jpg)" in messages()


def test_a_picture_in_the_lists_of_two_splits_is_told(root, messages):
    root.pictures("1.jpg", "2.jpg").file("FLICKR8K.TOKEN.TXT", "1.jpg#0\ta\n2.jpg#0\tb\n")
    root.file("Flickr_8k.TrainImages.txt", "1.jpg\n2.jpg\n").file("Flickr_8k.testImages.txt", "2.jpg\n")
    assert captions(read_pairs(str(root.path), "train")) == [("1.jpg", "a")]
    line = "d: 1 picture stands in the lists of two splits, and the later one is taken (2.jpg of train counts as test)."
    assert line in messages()


def test_pictures_of_a_split_without_a_caption_are_told(root, messages):
    root.pictures("1.jpg").file("x.token", "1.jpg#0\ta\n")
    root.file("x.trainImages.txt", "./1.jpg\n9.jpg\n")
    assert captions(read_pairs(str(root.path), "train")) == [("1.jpg", "a")]
    assert "x.token: 1 picture in the lists of splits without a caption (9.jpg)." in messages()


def test_two_lists_of_captions_are_refused(root):
    root.pictures("1.jpg").file("a.token", "1.jpg#0\ta\n").file("b.token", "1.jpg#0\tb\n")
    with pytest.raises(DataError, match=r"d: holds a.token and b.token; give one of them, such as .*a.token"):
        read_pairs(str(root.path))
