"""Flickr's own caption files: `Flickr8k.token.txt`, `results_20130124.token`: "1000.jpg#0<tab>A child ..." a line.

Flickr8k's lists of names (`Flickr_8k.trainImages.txt`, `.devImages.txt`, `.testImages.txt`) give the splits, where they
lie beside it (Hodosh et al. 2013). The published Flickr8k file has five captions of `2258277193_586949ec62.jpg.1`, a
picture that does not exist: these are left out, and so is `Flickr8k.lemma.token.txt`, which holds the same captions.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.files import Places, folder_name, key_of, matching, the_one
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.rows import Row
from polyprompt.data.text_files import text_in
from polyprompt.errors import DataError

WHAT = "Flickr's captions (*.token, *.token.txt)"
LISTS = {"train": "*trainImages.txt", "dev": "*devImages.txt", "test": "*testImages.txt"}

UNPACKED = ("../Flicker8k_Dataset", "../Flickr8k_Dataset")
"""Where the pictures lie beside the folder `Flickr8k_text`."""


def fits(source: str) -> bool:
    """Whether this is such a file, or a folder with one."""
    path = Path(source)
    return bool(_files(path)) if os.path.isdir(source) else path.name.lower().endswith((".token", ".token.txt"))


def rows(source: str) -> Iterator[Row]:
    """One row per line.

    Raises:
        DataError: the file is missing or not UTF-8, or a line has no tab; the message names it.
    """
    path = Path(source)
    file = the_one(_files(path)) if os.path.isdir(source) else path
    if os.path.isdir(source) and (lemmas := [other.name for other in _all_files(path) if other != file]):
        say_once(
            str(file), f"{folder_name(path)}: {file.name} is read, {some(lemmas)} of the same captions is left out."
        )
    split_of = _splits(file.parent)
    places = Places(file, *UNPACKED)
    ghosts: list[str] = []
    unused = dict.fromkeys(split_of)
    for number, line in enumerate(text_in(file).split("\n"), 1):
        if not line:
            continue
        name, tab, caption = line.partition("\t")
        if not tab:
            raise DataError(f"{file.name}, line {number}: no tab between the picture and its caption")
        name = re.sub(r"#\d+$", "", name)
        unused.pop(key_of(name), None)
        picture = places.find(name)
        if picture is None and re.search(r"\.jpg\.\d+$", name):
            ghosts.append(name)
            continue
        key = picture.key if picture else key_of(name)
        yield Row(f"{file.name}, line {number}", key, picture, caption, split_of.get(key_of(name)))
    places.warn()
    if unused:
        number = count(len(unused), "picture")
        say_once(str(file), f"{file.name}: {number} in the lists of splits without a caption ({some([*unused])}).")
    if ghosts:
        number = count(len(ghosts), "caption")
        say_once(str(file), f"{file.name}: left out {number} of {ghosts[0]}, a picture that does not exist.")


def _splits(folder: Path) -> dict[str, str]:
    """The split of each picture; that one of them stands in the lists of two is told."""
    split_of: dict[str, str] = {}
    several: dict[str, str] = {}
    for split, pattern in LISTS.items():
        for file in matching(folder, pattern):
            for name in map(key_of, filter(None, map(str.strip, text_in(file).split("\n")))):
                if (first := split_of.get(name, split)) != split:
                    several[name] = f"{name} of {first} counts as {split}"
                split_of[name] = split
    if several:
        number = count(len(several), "picture stands", "pictures stand")
        line = f"{number} in the lists of two splits, and the later one is taken ({some([*several.values()])})"
        say_once(str(folder), f"{folder_name(folder)}: {line}.")
    return split_of


def _files(folder: Path) -> list[Path]:
    """Without Flickr8k's lemmas, which are not as people write, where the captions lie beside them."""
    files = _all_files(folder)
    return [file for file in files if ".lemma." not in file.name.lower()] or files


def _all_files(folder: Path) -> list[Path]:
    return matching(folder, "*.token", "*.token.txt")
