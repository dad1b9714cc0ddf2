"""Names of models on the hub, and what goes wrong there, in one line; skins/test_hub.py fetches from a toy hub."""

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from polyprompt.disk.hub import is_on_hub, reached, unanswered
from polyprompt.errors import FileError


@pytest.mark.parametrize(
    ("name", "there"), [("hf:me/pets", True), ("hf:", True), ("me/pets", False), ("./hf:x", False)]
)
def test_a_name_says_that_it_is_on_the_hub(name, there):
    assert is_on_hub(name) is there


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("401 Client Error. (Request ID: Root=1)\n\nRepository Not Found for url: https://x.", "Repository Not Found"),
        ("Repo id must be 'a/b': '..'.", "Repo id must be 'a/b': '..'"),
        ("", "OSError"),
        ("  \n 404 (Request ID: 1)", "404"),
    ],
)
def test_what_the_hub_says_is_one_line(said, told):
    with pytest.raises(FileError) as error, reached("hf:me/pets"):
        raise OSError(said)
    assert str(error.value).startswith(f"hf:me/pets: the hub says: {told}. Look at the name and the network")
    assert "\n" not in str(error.value)


def test_our_own_errors_pass():
    with pytest.raises(FileError, match=r"^as it is$"), reached("hf:me/pets"):
        raise FileError("as it is")


def test_a_hub_that_does_not_answer_is_told_from_one_that_says_no():
    assert unanswered(ValueError("no")) is None
    silent = LocalEntryNotFoundError("no copy")
    assert unanswered(silent) == "HF_HUB_OFFLINE is set; and this machine has no copy of it"
    outer = OSError("cannot load")
    outer.__cause__ = silent
    assert unanswered(outer) == unanswered(silent)
    with pytest.raises(FileError, match="hf:me/pets: HF_HUB_OFFLINE is set"), reached("hf:me/pets"):
        raise outer
