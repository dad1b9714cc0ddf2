"""Labels agree with their names, and names that say nothing are told or refused."""

import pytest

from polyprompt.data.read import read_labelled
from polyprompt.errors import DataError


@pytest.mark.parametrize("name", ["0", "n01440764", "12.5", "-"])
def test_folders_called_by_numbers_or_codes_need_names(root, name, messages):
    root.pictures(f"{name}/1.png", "blue/1.png")
    with pytest.raises(DataError, match=rf"the label is {name}, .*a text model needs names.* a file classnames.txt"):
        read_labelled(str(root.path))
    root.file("classnames.txt", f"{name} tench\nblue blue\n")
    assert read_labelled(str(root.path)).class_names == ("tench", "blue")  # in the order of the list
    root.file("classnames.txt", f"{name} 7\nblue blue\n")
    read_labelled(str(root.path))
    assert "1 class is called by numbers or signs (7); prompts say them as they are" in messages()


@pytest.mark.parametrize("name", ["001.Black_footed_Albatross", "n02085620-Chihuahua", "03-cat", "12_a"])
def test_numbers_before_names_are_told(root, name, messages):
    root.pictures(f"{name}/1.png", "dog/1.png", "3d printer/1.png", "42nd street/1.png", "7 up/1.png")
    read_labelled(str(root.path))
    assert (
        f"1 class has a number before its name ({name}), and prompts say it, too; a file classnames.txt" in messages()
    )


@pytest.mark.parametrize("name", ["class_1", "Class 02", "cls-3", "label7", "c4", "category_10"])
def test_folders_that_only_count_are_told_with_a_way_to_name_them(root, name, messages):
    root.pictures(f"{name}/1.png", "cat/1.png", "mig29/1.png", "area 51/1.png")
    assert name in read_labelled(str(root.path)).class_names
    message = messages()
    assert f"1 class has a number in the place of a name ({name}), which says nothing to a text model" in message
    root.file("classnames.txt", f"{name} tench\ncat cat\nmig29 mig29\narea 51 area 51\n".replace(" 5", "_5"))
    (root.path / "area 51").rename(root.path / "area_51")
    if " " not in name:
        assert "tench" in read_labelled(str(root.path)).class_names
        assert "in the place of a name" not in messages()


def test_the_order_of_a_table_with_numbers_is_theirs(root):
    root.pictures("1.png", "2.png", "3.png")
    root.file("t.csv", "file,label,class_name\n1.png,10,ant\n2.png,2,zebra\n3.png,1,emu\n")
    assert read_labelled(str(root.path / "t.csv")).class_names == ("emu", "zebra", "ant")


def test_a_list_of_classes_written_as_text_is_refused(root):
    root.pictures("1.png", "2.png").file("t.csv", "path,label\n1.png,\"['cat', 'dog']\"\n2.png,dog\n")
    with pytest.raises(DataError, match=r"t.csv, line 2: the class is a list written as text"):
        read_labelled(str(root.path / "t.csv"))


def test_a_second_set_shares_the_labels_of_a_first(animals):
    data = read_labelled(str(animals), class_names=["emu", "dog", "ant", "cat"])
    assert data.labels == (3, 3, 1, 0)


def test_class_folders_with_one_name_are_refused(animals):
    (animals / "dog").rename(animals / "Cat")
    with pytest.raises(DataError, match="'Cat' and 'cat' have one name"):
        read_labelled(str(animals))
