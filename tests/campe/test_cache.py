"""Caches: what comes back is what went in; damage and kills are noticed and mended."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyprompt.campe.cache import TextStates, fill_together
from polyprompt.campe.objective import Batch, Objective
from polyprompt.disk.files import read_json, write_json
from polyprompt.disk.rows import RowStore, check_room, decode, encode, row_bytes
from polyprompt.errors import CacheError
from polyprompt.nn.tree import sequences

TEXTS = ["two dogs play", "a cat", "a red car on a road", "snow"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYPROMPT_CACHE", str(tmp_path / "cache"))


@given(st.integers(1, 5), st.integers(1, 70), st.integers(0, 9))
def test_encoded_rows_come_back(rows, width, seed):
    draw = torch.Generator().manual_seed(seed)
    numbers = torch.randn(rows, width, generator=draw) * 10 ** torch.randn(rows, width, generator=draw)
    for dtype, tolerance in (("fp32", 0), ("bf16", 2**-8), ("int8", 1 / 100)):
        data = np.frombuffer(encode(numbers, dtype), dtype=np.uint8)
        assert len(data) == rows * row_bytes(width, dtype)
        found = decode(data, width, dtype)
        limit = numbers.abs() if dtype != "int8" else numbers.abs().amax()
        assert ((found - numbers).abs() <= tolerance * limit + 1e-6).all()


def stored(folder, lengths=(2, 1, 3)):
    store = RowStore(folder, lengths, 5, "fp32")
    return store, [torch.arange(n * 5).reshape(n, 5).float() + i for i, n in enumerate(lengths)]


def test_a_store_goes_on_where_it_stopped(tmp_path):
    store, rows = stored(tmp_path / "rows")
    store.append(rows[:2])
    with open(tmp_path / "rows" / "rows.bin", "ab") as file:
        file.write(b"half a chunk of a writer that was killed")
    again, _ = stored(tmp_path / "rows")
    assert again.done == 2
    again.append(rows[2:])
    assert again.complete
    for i, row in enumerate(rows):
        assert torch.equal(again.read(i), row)


def test_a_flipped_bit_is_found_and_that_piece_computed_again(tmp_path, capsys):
    store, rows = stored(tmp_path / "rows")
    for row in rows:
        store.append([row])
    path = tmp_path / "rows" / "rows.bin"
    data = bytearray(path.read_bytes())
    data[45] ^= 1  # in the second of three pieces
    path.write_bytes(bytes(data))
    again, _ = stored(tmp_path / "rows")
    assert again.done == 1
    assert "1 of 3 pieces are sound" in capsys.readouterr().err


def test_a_cache_over_its_cap_is_refused_before_it_is_written(tmp_path):
    with pytest.raises(CacheError, match=r"would take 3.0 GB, its cap is 2 GB"):
        check_room(tmp_path, 3_000_000_000, 2.0)


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


def test_other_prompts_and_other_captions_have_caches_of_their_own(toy_campe):
    model = toy_campe()
    ids, _ = model.text.llm.tokens(TEXTS, 64)
    tree = model.text.tree
    folders = {
        TextStates(model.text.llm, model.text.split, rows, kind, dtype, bf16).store.folder
        for rows, kind, dtype, bf16 in [
            (ids, tree, "fp32", False),
            (ids[::-1], tree, "fp32", False),
            (ids, tree.positive(), "fp32", False),
            (ids, tree, "int8", False),
            (ids, tree, "fp32", True),
        ]
    }
    assert len(folders) == 5


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
    assert states.store.complete
    items = data.draw(st.lists(st.sampled_from(range(len(TEXTS))), min_size=1, max_size=4))
    batch, hidden = states.read(items)
    with torch.no_grad():
        embedded, flow = llm.embed(batch.ids, batch.positions, batch.mask)
        expected = llm.run(embedded, flow, 0, split)
    for row, n in enumerate(batch.lengths.tolist()):
        torch.testing.assert_close(hidden[row, :n], expected[row, :n], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(hidden[row, batch.width :], expected[row, batch.width :], rtol=1e-5, atol=1e-5)


def test_one_pass_fills_several_splits_and_goes_on_where_one_of_them_stopped(toy_campe, monkeypatch):
    model = toy_campe()
    llm, tree = model.text.llm, model.text.tree
    ids, _ = llm.tokens(TEXTS, 64)
    monkeypatch.setattr("polyprompt.campe.cache.CHUNK", 2)
    both = [TextStates(llm, split, ids, tree, "fp32", bf16=False) for split in (2, 1)]
    fill_together(both, 1.0)
    alone = [one.store.read(0) for one in both]
    # the second of them lost its last chunk, as if the run had been killed between the two files
    index = both[1].store.folder / "index.json"
    write_json(index, read_json(index) | {"chunks": read_json(index)["chunks"][:1]})
    again = [TextStates(llm, split, ids, tree, "fp32", bf16=False) for split in (2, 1)]
    assert [one.store.complete for one in again] == [True, False]
    fill_together(again, 1.0)
    for one, other, first in zip(both, again, alone, strict=True):
        assert torch.equal(other.store.read(0), first)
        assert torch.equal(other.store.read(3), one.store.read(3))
    assert not torch.equal(alone[0], alone[1])
