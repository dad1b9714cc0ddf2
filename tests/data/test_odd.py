"""Captions that a program has damaged are refused, or told and kept."""

import pytest

from polyprompt.data.read import read_pairs
from polyprompt.errors import DataError

NULLS = ['["a cat", null]', "['a cat', nan]", "['a cat', None]", "[null]", "[nan]", "[]"]


@pytest.mark.parametrize("cell", ["['a red square', 'red']", '["a"]', "('a', 'b')", "{'caption': 'a'}", *NULLS])
def test_a_list_written_as_text_is_refused(root, cell):
    quoted = cell.replace('"', '""')
    root.pictures("1.png").file("captions.csv", f'file,caption\n1.png,"{quoted}"\n')
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
    root.pictures("1.png").file("captions.tsv", f"file\tcaption\n{table}")
    assert len(read_pairs(str(root.path)).captions) == table.count("\n")
    assert words in messages()


def test_captions_with_line_breaks_are_told(root, messages):
    root.pictures("1.png", "2.png").file("captions.csv", 'file,caption\n1.png,"a dog\n2.png,a cat"\n')
    assert read_pairs(str(root.path)).captions == ("a dog\n2.png,a cat",)
    assert (
        r"d: 1 caption hold line breaks; a quote left open in a csv takes the next lines in (captions.csv, "
        in messages()
    )
