"""Sentences about classes, such as an LLM writes them: read from a file, checked against class names, made token rows.

A file is JSON, an object of class names with a list of sentences each: as CoPrompt's authors publish theirs
(gpt_file/*.json, names with blanks), and CuPL's (Pratt et al. 2023, arXiv:2209.03320). VDT-Adapter's (gpt4_data/*.pt,
names with underscores) are the same as torch writes it, and read as such; nothing in them is executed. Names count as
alike where a text model reads them alike. The sentences under the name {} are every class's, with {} where its name
goes. No LLM is asked here.

`random:N` in place of a file is the control of WaffleCLIP (Roth et al. 2023, arXiv:2306.07282): N sentences that end in
random words or letters, the same for all classes. What such sentences gain, no description explains.
"""

import dataclasses
import difflib
import random
import string
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from polyprompt.adapt.wording import in_prompt
from polyprompt.data.json_files import each_once
from polyprompt.data.names import spelt
from polyprompt.disk.files import read_json, sha256
from polyprompt.disk.foreign import read_foreign
from polyprompt.errors import ConfigError, DataError
from polyprompt.towers.base import TextTower

Descriptions = dict[str, tuple[str, ...]]
"""Class names and their sentences; under {} those of every class."""
EVERY = "{}"
"""Stands for every class among the names, and for its name in their sentences."""
RANDOM = "random:"
MOST = 1000
"""Random sentences that a class gets at most."""
WORDS = (
    "amber anchor arrow autumn balcony barley basin bell blanket bottle bridge button candle canvas carpet cedar chalk "
    "chimney circle cloud copper corner cotton cradle curtain desert echo ember engine fabric feather fence fiddle "
    "flannel forest fountain garden ginger glacier granite hammer harbor harvest hollow island ivory jacket kettle "
    "ladder lantern linen magnet marble meadow mirror mortar needle orchard paddle pepper pillar quarry ribbon river "
    "saddle shadow silver spiral stable thunder timber tunnel umbrella valley velvet village walnut window winter"
)
"""What random words are drawn from."""

C = TypeVar("C")


def read_descriptions(source: str, seed: int = 0) -> Descriptions:
    """The sentences of a file, or random ones.

    Args:
        source: a file as above, or random:15 for so many random sentences.
        seed: of the random ones.

    Raises:
        FileError: the file cannot be read. ConfigError: no number behind random, or too large a one.
        DataError: it holds something else than names with sentences, or one name twice.
    """
    if not source:
        raise ConfigError("descriptions is empty; give a file of sentences, or random:15")
    if is_random(source):
        count = source.removeprefix(RANDOM)
        if not count.isdecimal() or not 0 < int(count[:9]) <= MOST:
            raise ConfigError(
                f"descriptions is {source!r:.40}; say how many random sentences a class gets, 1 to {MOST}, as in "
                "random:15"
            )
        return random_sentences(int(count), random.Random(seed))
    if Path(source).suffix == ".pt":
        content = read_foreign(source)
    else:
        content = read_json(source, partial(each_once, partial(_twice, source)))
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{source}: must hold class names with a list of sentences each, as in {{'cat': ['A cat is']}}")
    descriptions, seen = {}, dict[str, str]()
    for name, sentences in content.items():
        if not isinstance(name, str) or not isinstance(sentences, list | tuple) or not sentences:
            raise DataError(f"{source}: {name!r} has {sentences!r:.40}; each class needs a list of sentences")
        if wrong := [one for one in sentences if not isinstance(one, str) or not one.strip()]:
            raise DataError(f"{source}: {name!r} has the sentence {wrong[0]!r:.40}; sentences are texts with words in")
        if spelt(name) in seen:
            raise DataError(f"{source}: {seen[spelt(name)]!r} and {name!r} are one class for a text model; join them")
        if name == EVERY and (bare := [one for one in sentences if one.count(EVERY) != 1]):
            raise DataError(f"{source}: {bare[0][:60]!r} is for every class, and needs one {{}} where its name goes")
        seen[spelt(name)], descriptions[name] = name, tuple(sentences)
    return descriptions


def _twice(source: str, name: str) -> DataError:
    return DataError(f"{source}: {name!r:.60} stands in it twice; join its sentences")


def is_random(source: str | None) -> bool:
    """Whether sentences are drawn, so that a seed decides them."""
    return source is not None and source.startswith(RANDOM)


def fingerprints(source: str | None) -> dict[str, str]:
    """The hash of a file of descriptions, which may change while its name stays; nothing where there is no file.

    Raises:
        FileError: the file cannot be read.
    """
    return {} if source is None or is_random(source) else {"descriptions": sha256(source)}


def random_sentences(count: int, draw: random.Random) -> Descriptions:
    """Pairs of random words, and of random letters as long, in turn; the same for every class."""

    def letters(word: str) -> str:
        return "".join(draw.choices(string.ascii_lowercase, k=len(word)))

    pairs = [draw.sample(WORDS.split(), 2) for _ in range(count)]
    ends = [pair if number % 2 == 0 else map(letters, pair) for number, pair in enumerate(pairs)]
    return {EVERY: tuple(f"a photo of a {{}}, which has {', '.join(end)}." for end in ends)}


def sentences_of(descriptions: Mapping[str, Sequence[str]], names: Sequence[str]) -> list[list[str]]:
    """The sentences of each class, its own and those for every class.

    Raises:
        DataError: a class has none; near names are offered.
    """
    by_spelling = {spelt(name): (name, sentences) for name, sentences in descriptions.items()}
    _, every = by_spelling.pop(EVERY, (EVERY, ()))
    missing = [name for name in names if not every and spelt(name) not in by_spelling]
    if missing:
        near = [by_spelling[key][0] for key in difflib.get_close_matches(spelt(missing[0]), by_spelling, n=2)]
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Described: {_some(list(descriptions))}."
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise DataError(
            f"no description of class {missing[0]!r}{more} among {len(by_spelling)} described classes. {hint}"
        )
    return [
        [*by_spelling.get(spelt(name), ("", ()))[1], *(one.replace(EVERY, in_prompt(name)) for one in every)]
        for name in names
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if names[5:] else "")


def described(
    text: TextTower, descriptions: Mapping[str, Sequence[str]], names: Sequence[str]
) -> list[list[list[int]]]:
    """Token ids of each class's sentences.

    Raises:
        DataError: a class has none, or one that is too long for the text tower.
    """
    rows = []
    for name, sentences in zip(names, sentences_of(descriptions, names), strict=True):
        rows.append([text.words(sentence) for sentence in sentences])
        for sentence, row in zip(sentences, rows[-1], strict=True):
            if len(row) > text.max_tokens:
                raise DataError(
                    f"class {name!r}: the description {sentence[:40]!r} has {len(row)} tokens, the text tower reads at "
                    f"most {text.max_tokens}; shorten it"
                )
    return rows


def with_descriptions(configs: Sequence[C], descriptions: Descriptions) -> list[C]:
    """Settings of a method and of terms, those that read descriptions with these in them.

    Raises:
        ConfigError: none of them reads any.
    """
    reads = [_reads(config) for config in configs]
    if not any(reads):
        raise ConfigError(
            f"descriptions are given, and {type(configs[0]).__module__.rpartition('.')[2]} reads none; leave them out, "
            "or use a method or a term that does"
        )
    return [
        dataclasses.replace(config, descriptions=descriptions) if read else config  # pyright: ignore[reportArgumentType]
        for config, read in zip(configs, reads, strict=True)
    ]


def _reads(config: object) -> bool:
    return "descriptions" in {field.name for field in dataclasses.fields(config)}  # pyright: ignore[reportArgumentType]
