"""Caches of states and tokens: what comes back is what went in, and what one model computed serves another."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyprompt.campe.cache import ImageTokens, TextStates, fill_together
from polyprompt.campe.objective import Batch, Objective
from polyprompt.disk.pieces import open_piece
from polyprompt.errors import CacheError
from polyprompt.nn.tree import sequences, spanning

TEXTS = ["two dogs play", "a cat", "a red car on a road", "snow"]

pytestmark = pytest.mark.usefixtures("cache")


def test_losses_from_the_cache_are_those_without_it(toy_campe, toy_pictures):
    model = toy_campe()
    ids, _ = model.text.llm.tokens(TEXTS, 64)
    states = TextStates(model.text.llm, model.text.split, ids, model.text.tree, "fp32", bf16=False)
    states.fill(1.0)
    items = [2, 0, 3]
    tokens = model.image.frozen_tokens(torch.stack([model.preprocess(p) for p in toy_pictures[:3]]))
    cached = Objective(model)(Batch(*states.read(items), tokens, None))
    plain = Objective(model)(Batch(sequences([ids[i] for i in items], model.text.tree), None, tokens, None))
    for name, value in plain.items():
        torch.testing.assert_close(cached[name], value, rtol=1e-5, atol=1e-5)


def test_other_prompts_and_other_numbers_have_caches_of_their_own(toy_campe):
    model = toy_campe()
    ids, _ = model.text.llm.tokens(TEXTS, 64)
    tree = model.text.tree
    folders = {
        TextStates(model.text.llm, model.text.split, ids, kind, dtype, bf16).store.folder
        for kind, dtype, bf16 in [
            (tree, "fp32", False),
            (tree.positive(), "fp32", False),
            (tree, "int8", False),
            (tree, "fp32", True),
        ]
    }
    assert len(folders) == 4


@given(st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_finished_store_serves_every_part_of_its_tree(toy_campe, data):
    model = toy_campe()
    llm, tree, split = model.text.llm, model.text.tree, model.text.split
    ids, _ = llm.tokens(TEXTS, 64)
    TextStates(llm, split, ids, tree, "fp32", bf16=False).fill(1.0)
    leaves = data.draw(st.lists(st.sampled_from(tree.readouts + tree.negated), unique=True))
    part = tree.take(tree.keep(leaves))
    states = TextStates(llm, split, ids, part, "fp32", bf16=False)
    assert states.complete
    items = data.draw(st.lists(st.sampled_from(range(len(TEXTS))), min_size=1, max_size=4))
    batch, hidden = states.read(items)
    with torch.no_grad():
        embedded, flow = llm.embed(batch.ids, batch.positions, batch.mask)
        expected = llm.run(embedded, flow, 0, split)
    for row, n in enumerate(batch.lengths.tolist()):
        torch.testing.assert_close(hidden[row, :n], expected[row, :n], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(hidden[row, batch.width :], expected[row, batch.width :], rtol=1e-5, atol=1e-5)


def test_a_finished_store_serves_the_same_paths_in_another_order(toy_campe):
    model = toy_campe()
    llm, tree, split = model.text.llm, model.text.tree, model.text.split
    ids, _ = llm.tokens(TEXTS, 64)
    first = TextStates(llm, split, ids, tree, "fp32", bf16=False)
    first.fill(1.0)
    turned = spanning(tree.paths[::-1])
    assert turned.paths != spanning(tree.paths).paths
    states = TextStates(llm, split, ids, turned, "fp32", bf16=False)
    assert states.complete
    (one, hidden), (other, expected) = states.read([1]), first.read([1])
    for path in turned.paths:
        columns = one.width + turned.paths.index(path), other.width + tree.paths.index(path)
        assert torch.equal(hidden[0, columns[0]], expected[0, columns[1]])


def test_one_pass_fills_several_splits_and_goes_on_where_one_of_them_stopped(toy_campe):
    model = toy_campe()
    llm, tree = model.text.llm, model.text.tree
    ids, _ = llm.tokens(TEXTS, 64)
    for count in (2, 4):  # a piece for each half
        both = [TextStates(llm, split, ids[:count], tree, "fp32", bf16=False) for split in (2, 1)]
        fill_together(both, 1.0)
    alone = [one.read(range(4))[1] for one in both]
    # the second of them lost a piece, as if the run had been killed between the two files
    sorted(both[1].store.folder.glob("*.safetensors"))[0].unlink()
    again = [TextStates(llm, split, ids, tree, "fp32", bf16=False) for split in (2, 1)]
    assert [one.complete for one in again] == [True, False]
    fill_together(again, 1.0)
    for one, first in zip(again, alone, strict=True):
        assert torch.equal(one.read(range(4))[1], first)
    assert not torch.equal(alone[0], alone[1])


def test_what_another_run_has_filled_meanwhile_is_found(toy_campe):
    model = toy_campe()
    ids, _ = model.text.llm.tokens(TEXTS, 64)
    one, other = (
        TextStates(model.text.llm, model.text.split, ids, model.text.tree, "fp32", bf16=False) for _ in range(2)
    )
    one.fill(1.0)
    assert not other.complete
    other.filled()
    assert other.complete
    assert torch.equal(other.read([0, 1])[1], one.read([0, 1])[1])


def test_the_room_that_is_asked_for_is_that_of_captions_and_nodes(toy_campe):
    model = toy_campe()
    ids, _ = model.text.llm.tokens(TEXTS, 64)
    states = TextStates(model.text.llm, model.text.split, ids, model.text.tree, "fp32", bf16=False)
    rows = sum(len(row) + len(set(model.text.tree.paths)) for row in ids)
    gigabytes = 4 * model.text.llm.width * rows / 1e9
    with pytest.raises(CacheError, match="its cap is"):
        states.fill(gigabytes * 0.999)
    states.fill(gigabytes * 1.001)
    assert states.complete


def test_captions_that_lists_share_are_computed_once(toy_campe, monkeypatch):
    model = toy_campe()
    llm, tree, split = model.text.llm, model.text.tree, model.text.split
    ids, _ = llm.tokens([*TEXTS, TEXTS[0]], 64)
    first = TextStates(llm, split, ids[:2], tree, "fp32", bf16=False)
    first.fill(1.0)
    assert TextStates(llm, split, ids[1::-1], tree, "fp32", bf16=False).complete
    whole = TextStates(llm, split, ids, tree, "fp32", bf16=False)
    assert not whole.complete
    whole.fill(1.0)
    assert len(whole.store) == 4  # the fifth is the first once more
    assert sum(len(open_piece(path).keys) for path in whole.store.folder.glob("*.safetensors")) == 4
    assert torch.equal(whole.read([0, 1])[1], first.read([0, 1])[1])
    assert torch.equal(whole.read([4])[1], whole.read([0])[1])


@pytest.mark.parametrize("harm", [b"", b"[" * 100_000, b'{"a": 1}', b"[[1, 2]]", b"\xff"])
def test_a_damaged_list_of_prompts_stops_nothing_and_is_mended(toy_campe, harm):
    model = toy_campe()
    llm, tree, split = model.text.llm, model.text.tree, model.text.split
    ids, _ = llm.tokens(TEXTS, 64)
    states = TextStates(llm, split, ids, tree, "fp32", bf16=False)
    states.fill(1.0)
    listed = states.store.folder / "paths.json"
    good = listed.read_bytes()
    listed.write_bytes(harm)
    assert not TextStates(llm, split, ids, tree.positive(), "fp32", bf16=False).complete
    assert TextStates(llm, split, ids, tree, "fp32", bf16=False).complete
    assert listed.read_bytes() == good
    assert TextStates(llm, split, ids, tree.positive(), "fp32", bf16=False).complete


def test_tokens_of_pictures_and_videos_are_computed_once(toy_campe):
    side = toy_campe().image
    size, asked = side.tower.preprocess.size, []
    frames = [1, 3, 1]
    pixels = [torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(n)) for n in frames]

    def opened(item):
        asked.append(item)
        return pixels[item]

    with pytest.raises(ValueError, match="zip"):
        ImageTokens(side, opened, ["a", "b"], frames, "fp32")
    tokens = ImageTokens(side, opened, ["a", "b", "a"], frames, "fp32")
    tokens.fill(1.0)
    assert asked == [0, 1]
    again = ImageTokens(side, opened, ["b", "c", "a"], [3, 3, 1], "fp32")
    again.fill(1.0)
    assert asked == [0, 1, 1]  # its second picture
    torch.testing.assert_close(again.read([0, 2]), torch.cat([tokens.read([1]), tokens.read([2])]), rtol=0, atol=0)
    torch.testing.assert_close(tokens.read([1]), side.frozen_tokens(pixels[1]), rtol=1e-5, atol=1e-5)
    one = ImageTokens(side, lambda item: opened(1)[:1], ["b"], [1], "fp32")
    one.fill(1.0)  # the same video, seen as one frame
    assert len(one.read([0])) == 1
