"""Mirrored pictures and dropped tokens: what a step sees of them, and that scores see all."""

import pytest
import torch
from toy_runs import toy_settings

from polyprompt.campe.model import build
from polyprompt.data.read import read_pairs
from polyprompt.evaluate.retrieval import recall
from polyprompt.nn.tree import PromptTree, sequences, without_words
from polyprompt.runs.align import align, prepare
from polyprompt.runs.folder import read_results


@pytest.fixture(scope="module")
def model(place):
    torch.manual_seed(0)
    return build(toy_settings(place)).eval()


@torch.no_grad()
@pytest.mark.parametrize("cache", [True, False])
def test_a_mirrored_picture_is_the_picture_mirrored(cache, model, place):
    settings = toy_settings(place, mirrored=True, cache=cache, cache_dtype="fp32")
    data = prepare(model, read_pairs(settings.data, "train"), settings, training=True)
    seen = set()
    for _ in range(8):
        batch = data.batch([0])
        tokens = model.image.frozen_tokens(batch.pixels) if batch.tokens is None else batch.tokens
        pixels = model.preprocess(data.pairs.images[data.pairs.image_of[0]].open())[None]
        ways = [torch.allclose(tokens, model.image.frozen_tokens(p), atol=1e-5) for p in (pixels, pixels.flip(-1))]
        assert sum(ways) == 1
        seen.add(ways.index(True))
    assert seen == {0, 1}
    plain = prepare(model, read_pairs(settings.data, "train"), settings)
    assert not plain.mirrored
    assert plain.tokens is None or len(plain.tokens.keys) * 2 == len(data.tokens.keys)


def test_dropped_words_are_seen_by_nobody_but_themselves():
    captions, tree = [[5, 6, 7, 8], [9], [10, 11]], PromptTree((1, 2), (-1, 0), readouts=(1,))
    whole = sequences(captions, tree)
    torch.manual_seed(3)
    found = without_words(whole, 0.5)
    torch.manual_seed(3)
    draw = torch.rand(3, 4)
    count = 0
    for row, caption in enumerate(captions):
        for j in range(6):
            dropped = j < len(caption) - 1 and float(draw[row, j]) < 0.5
            count += dropped
            for i in range(6):
                assert bool(found.mask[row, i, j]) == (bool(whole.mask[row, i, j]) and (i == j or not dropped))
    assert count > 0
    assert found.ids.equal(whole.ids)
    assert without_words(whole, 0.0).mask.equal(whole.mask)
    assert whole.seen_at_the_end().sum(dim=1).tolist() == [4, 1, 2]


@torch.no_grad()
def test_a_mean_goes_without_dropped_words(place):
    """Against a caption's states one by one."""
    side = build(toy_settings(place, text={"tower": str(place / "llm"), "readout": "mean"})).text.eval()
    torch.manual_seed(1)
    batch = without_words(sequences([[60, 61, 62, 63, 64, 65], [70, 71]], PromptTree()), 0.5)
    hidden, flow = side.llm.embed(batch.ids, batch.positions, batch.mask)
    states = side.norm(side.llm.run(hidden, flow, 0, side.llm.depth))
    found = side(batch).readouts[:, 0]
    for row, length in enumerate([6, 2]):
        kept = [j for j in range(length) if batch.mask[row, length - 1, j]]
        assert length == 2 or 1 <= len(kept) < 6
        torch.testing.assert_close(found[row], torch.stack([states[row, j] for j in kept]).mean(dim=0))


@torch.no_grad()
def test_dropped_patches_leave_the_rest_in_place(model, place):
    tokens = torch.randn(2, model.image.cells, model.image.tower.width)
    count = round(0.5 * model.image.cells)
    torch.manual_seed(0)
    segments, attention = model.image.segments(tokens, 0.5)
    assert attention.shape[-1] == count
    torch.manual_seed(0)
    kept = torch.randn(2, model.image.cells).argsort(dim=-1)[:, :count].sort(dim=-1).values
    states = model.image.enter(tokens)
    for row in range(2):
        alone = model.image.read(model.image.run(states[row, kept[row]][None], 0, len(model.image.blocks)))[0]
        torch.testing.assert_close(segments[row], alone[0])


def test_a_run_with_all_of_them_scores_whole_pictures_and_captions(place, tmp_path):
    settings = toy_settings(place, epochs=1, mirrored=True, dropped_words=0.3, dropped_patches=0.5)
    model = align(settings, tmp_path / "run").eval()
    test = read_pairs(settings.data, "test")
    texts, images = model.encode_text(test.captions), model.encode_image([one.open() for one in test.images])
    (found,) = read_results(tmp_path / "run")["retrieval"].values()
    expected = recall(images, texts, torch.tensor(test.image_of))
    assert {way: found[way] for way in expected} == expected
