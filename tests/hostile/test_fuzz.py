"""Spoilt files of every kind: each is read, or refused in one line; some thousands here, more by benchmarks/fuzz.py."""

import os

import pytest
from fuzzing import OUTCOMES, fuzz, spoilt
from seeds import SEEDS, read

from polyprompt.errors import PolypromptError

pytestmark = pytest.mark.outside("process")


def test_whole_files_are_read(tmp_path):
    for kind, seeds in SEEDS.items():
        for seed in seeds:
            read(kind, seed, tmp_path)


def test_a_few_in_this_process(tmp_path):
    refused: list[str] = []
    for number in range(200):
        try:
            read(*spoilt(number), tmp_path)
        except PolypromptError as error:
            refused.append(str(error))
    assert 60 < len(refused) < 195
    assert not [message for message in refused if "\n" in message or not message]


def test_a_number_is_a_file():
    assert spoilt(7) == spoilt(7)
    assert len({spoilt(number)[1] for number in range(300)}) > 290


def test_a_video_that_asks_for_more_memory_than_ffmpeg_takes(tmp_path):
    """FFmpeg's error is a MemoryError by its class, and is the file's fault."""
    with pytest.raises(PolypromptError, match="Cannot allocate memory"):
        read(*spoilt(1_010_474), tmp_path)


def misread(kind, data, place):
    """Fails in all ways, by the kind of file."""
    match kind:
        case "png":
            raise KeyError("a mistake of ours")
        case "gif":
            os.abort()
        case "mp4":
            os.system("true")
        case "tiff":
            raise PolypromptError("two\nlines")
        case "avi":
            hold.append(bytearray(os.urandom(1) * 600 * 2**20))
            hold.clear()
        case "webp":
            while True:
                pass


hold: list[bytearray] = []


@pytest.mark.slow  # 45 s, twenty of them in an endless loop
@pytest.mark.timeout(900)
def test_whatever_goes_wrong_is_noted(tmp_path):
    kinds = {spoilt(number)[0]: number for number in reversed(range(200))}
    expected = {"png": "traceback", "gif": "crash", "mp4": "reached out", "tiff": "traceback", "avi": "large"}
    expected |= {"webp": "hang", "yaml": "read"}
    for kind, ended in expected.items():
        number = kinds[kind]
        *_, found = fuzz(range(number, number + 1), tmp_path, reads=misread)
        assert found.counts == {kind: {ended: 1}}
        assert len(found.bad) == (ended != "read")


@pytest.mark.slow  # 3 minutes
@pytest.mark.timeout(3600)
def test_twenty_thousand(tmp_path):
    *_, found = fuzz(range(1_000_000, 1_020_000), tmp_path)
    assert not found.bad
    assert sum(count.total() for count in found.counts.values()) == 20_000
    assert all(count["read"] and count["refused"] for count in found.counts.values())
    assert {*OUTCOMES} >= {ended for count in found.counts.values() for ended in count}
