"""What a frozen image tower makes of pictures, kept."""

import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from toy_adapt import looking
from toy_encoders import toy_encoder

from polyprompt.adapt.frozen import ImageStates
from polyprompt.data.items import Picture
from polyprompt.data.read import read_labelled


@pytest.fixture(scope="module")
def pictures():
    """Of noise, so that no two of them are alike."""
    return [Picture(str(number), lambda number=number: noise(number)) for number in range(20)]


def noise(seed: int) -> bytes:
    """A PNG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("block", [0, None])
def test_what_is_kept_does_not_depend_on_what_was_missing_with_it(pictures, block, environ, tmp_path):
    encoder = toy_encoder("clip")
    environ(POLYPROMPT_CACHE=tmp_path / "whole")
    whole = ImageStates(encoder, pictures, block, 1.0).read(range(20))
    environ(POLYPROMPT_CACHE=tmp_path / "parts")
    for at in (0, 1, 3, 9):
        ImageStates(encoder, pictures[: at + 1], block, 1.0)
    assert torch.equal(ImageStates(encoder, pictures, block, 1.0).read(range(20)), whole)


def shards(cache):
    return sorted(cache.glob("pictures/*/*.safetensors"))


def test_states_are_computed_once_for_all_methods_with_the_same_start(photos, cache):
    data, seen = read_labelled(str(photos)), []
    encoder = looking(toy_encoder("clip"), lambda pixels: seen.append(len(pixels)))
    first = ImageStates(encoder, data.pictures[:20], 0, 1.0)
    assert seen == [1, 20]  # one to see how large they are
    second = ImageStates(encoder, data.pictures[10:], 0, 1.0)
    assert seen[2:] == [1, 16]  # the 12 that the first had not, the last one five times (adapt/frozen.py's TOGETHER)
    ImageStates(encoder, data.pictures, 0, 1.0)
    assert len(seen) == 4
    ImageStates(encoder, data.pictures, None, 1.0)
    assert seen[4:] == [1, 32]
    pixels = torch.stack([encoder.image.preprocess(data.pictures[i].open()) for i in (11, 3)])
    assert torch.equal(first.read([11, 3]), encoder.image.below(pixels, 0))
    assert torch.equal(second.read([1, 1]), encoder.image.below(pixels[:1], 0).expand(2, -1, -1))


def test_other_weights_or_changed_pictures_have_states_of_their_own(encoder, photos, cache, tmp_path):
    data = read_labelled(str(photos))
    states = ImageStates(encoder, data.pictures[:4], 0, 1.0).read(range(4))
    other = ImageStates(toy_encoder("clip", seed=1), data.pictures[:4], 0, 1.0).read(range(4))
    assert not torch.equal(states, other)
    shutil.copytree(photos, tmp_path / "changed")
    Image.new("RGB", (9, 9)).save(tmp_path / "changed" / "blue" / "0.png")
    changed = ImageStates(encoder, read_labelled(str(tmp_path / "changed")).pictures[:4], 0, 1.0).read(range(4))
    assert torch.equal(states[1:], changed[1:])
    assert not torch.equal(states[0], changed[0])


@pytest.mark.parametrize("damage", [lambda data: data[:-3] + b"abc", lambda data: data[:50], lambda data: b""])
def test_a_damaged_shard_is_set_aside_and_computed_again(damage, encoder, photos, cache, capsys):
    data = read_labelled(str(photos))
    states = ImageStates(encoder, data.pictures, 0, 1.0).read(range(4))
    (shard,) = shards(cache)
    good = shard.read_bytes()
    shard.write_bytes(damage(good))
    assert torch.equal(ImageStates(encoder, data.pictures, 0, 1.0).read(range(4)), states)
    assert "set aside" in capsys.readouterr().err
    assert shard.read_bytes() == good
    assert shard.with_name(shard.name + ".damaged").exists()


def test_what_is_too_large_is_computed_when_needed(encoder, photos, cache, capsys, tmp_path):
    data = read_labelled(str(photos))
    kept, small = (ImageStates(encoder, data.pictures, 0, cap) for cap in (1.0, 1e-6))
    assert "over the cap" not in capsys.readouterr().err  # they were kept before
    shutil.rmtree(cache)
    small = ImageStates(encoder, data.pictures, 0, 1e-6)
    assert "would take 0.0 GB, over the cap of 1e-06" in capsys.readouterr().err
    assert torch.equal(small.read([3, 1]), kept.read([3, 1]))
    nothing = ImageStates(encoder, data.pictures, 0, 0.0)
    assert torch.equal(nothing.read([3, 1]), kept.read([3, 1]))
    assert not shards(cache)
