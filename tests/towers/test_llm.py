"""A decoder cut open gives what the uncut one gives, for twelve families, in trees as in separate passes."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from toy_decoders import FAMILIES, WITHOUT_BRANCHES, toy_decoder
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from polyprompt.errors import DataError, TowerError
from polyprompt.nn.tree import Branch, grow, sequences
from polyprompt.towers.llm import LLM, _cache_of

CAPTIONS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17]]
PROMPTS = [Branch((20, 30 + k, 21, 22, 23), adaptive=1) for k in range(3)]
NEGATIONS = [Branch((20, 30 + k, 21, 24, 22, 23), adaptive=1) for k in range(3)]
TREE = grow(PROMPTS, NEGATIONS)


@pytest.fixture(params=[*FAMILIES, *WITHOUT_BRANCHES])
def family(request):
    return request.param


def with_blocks(kind):
    """A toy Llama whose blocks are of another kind."""
    decoder = toy_decoder("llama")
    for block in decoder.layers:
        block.__class__ = kind
    return decoder


class Renamed(LlamaDecoderLayer):
    """Calls its key-value cache as transformers does since 5.24, or as some families do, whichever is installed."""

    def forward(self, hidden_states, cache=None, past_key_values=None, **kwargs):
        return super().forward(hidden_states, **kwargs, **{_cache_of(toy_decoder("llama").layers[0]): cache})


class Deaf(LlamaDecoderLayer):
    """Takes no cache, whatever it is called."""

    def forward(self, hidden_states, **kwargs):
        for name in ("cache", "past_key_values", "layer_past"):
            kwargs.pop(name, None)
        return super().forward(hidden_states, **kwargs)


def pass_of(llm, captions, tree, rows_only=False):
    """States of all nodes behind the last block and the norm [b, width + s, d]."""
    batch = sequences(captions, tree)
    hidden, flow = llm.embed(batch.ids, batch.positions, batch.mask)
    if not rows_only:
        return llm.norm(llm.run(hidden, flow, 0, llm.depth)), batch
    rows = (batch.width + torch.tensor(tree.readouts + tree.negated)).expand(len(captions), -1)
    hidden = llm.run(hidden, flow, 0, llm.depth - 1)
    return llm.norm(llm.run_rows(hidden, flow, llm.depth - 1, rows)), batch


@torch.no_grad()
def test_a_tree_pass_equals_separate_passes_of_the_uncut_model(family, toy_tokenizer):
    uncut = toy_decoder(family)
    llm = LLM(toy_decoder(family), toy_tokenizer, family)
    states, batch = pass_of(llm, CAPTIONS, TREE)
    for row, caption in enumerate(CAPTIONS):
        for branch, leaf in zip(PROMPTS + NEGATIONS, TREE.readouts + TREE.negated, strict=True):
            alone = uncut(input_ids=torch.tensor([caption + list(branch.ids)]), use_cache=False).last_hidden_state
            torch.testing.assert_close(states[row, batch.width + leaf], alone[0, -1], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(states[row, : len(caption)], alone[0, : len(caption)], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_batch_composition_changes_nothing(family, toy_tokenizer):
    llm = LLM(toy_decoder(family), toy_tokenizer, family)
    together, batch = pass_of(llm, CAPTIONS, TREE)
    for row, caption in enumerate(CAPTIONS):
        alone, own = pass_of(llm, [caption], TREE)
        torch.testing.assert_close(together[row, batch.width :], alone[0, own.width :], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_last_block_for_the_readouts_alone(family, toy_tokenizer):
    llm = LLM(toy_decoder(family), toy_tokenizer, family)
    full, batch = pass_of(llm, CAPTIONS, TREE)
    rows, _ = pass_of(llm, CAPTIONS, TREE, rows_only=True)
    leaves = batch.width + torch.tensor(TREE.readouts + TREE.negated)
    torch.testing.assert_close(rows, full[:, leaves], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_tree_behind_given_keys_and_values(family, toy_tokenizer):
    llm = LLM(toy_decoder(family), toy_tokenizer, family)
    full, batch = pass_of(llm, CAPTIONS, TREE)
    hidden, flow = llm.embed(batch.ids, batch.positions, batch.mask)
    width = batch.width
    captions, caption_flow = llm.embed(batch.ids[:, :width], batch.positions[:, :width], batch.mask[:, :width, :width])
    before, _ = llm.keys_values(captions, caption_flow, 0, llm.depth)
    behind = llm.norm(llm.run_behind(hidden[:, width:], flow, 0, llm.depth, width, before))
    torch.testing.assert_close(behind, full[:, width:], rtol=1e-5, atol=1e-5)


def test_frozen_and_deaf_to_train_mode(toy_tokenizer):
    llm = LLM(toy_decoder("gpt2"), toy_tokenizer, "gpt2").train()
    assert not any(parameter.requires_grad for parameter in llm.parameters())
    assert not any(part.training for part in llm.modules())


def test_captions_are_text_and_never_control(toy_tokenizer):
    llm = LLM(toy_decoder("llama"), toy_tokenizer, "llama")
    (ids,), _ = llm.tokens(["<s>a<end>"], 99)
    assert len(ids) == 9  # one token a byte
    assert toy_tokenizer.bos_token_id not in ids


def test_long_captions_are_cut_and_counted(toy_tokenizer):
    llm = LLM(toy_decoder("llama"), toy_tokenizer, "llama")
    ids, cut = llm.tokens(["a dog", "two dogs play"], 6)
    assert ([len(row) for row in ids], cut) == ([5, 6], 1)
    with pytest.raises(DataError, match="'' is empty"):
        llm.tokens(["a dog", ""], 6)


def test_a_text_behind_another_keeps_its_places(toy_tokenizer):
    llm = LLM(toy_decoder("llama"), toy_tokenizer, "llama")
    ids, places = llm.behind(" the end")
    assert toy_tokenizer.decode(ids) == " the end"
    assert [" the end"[start:end] for start, end in places] == list(" the end")


@pytest.mark.parametrize("depth", [0, 4])
def test_a_depth_beyond_the_model_is_refused(depth, toy_tokenizer):
    with pytest.raises(TowerError, match="has 3 blocks, so 1 to 3"):
        LLM(toy_decoder("llama"), toy_tokenizer, "toy", depth)


def work(llm, captions):
    """All that the text side asks of a tower, for captions of one length, with gradients."""
    batch = sequences(captions, TREE)
    hidden, flow = llm.embed(batch.ids, batch.positions, batch.mask)
    hidden = llm.run(hidden.detach().requires_grad_(True), flow, 0, llm.depth - 1)
    rows = (batch.width + torch.tensor(TREE.readouts)).expand(len(captions), -1)
    out = llm.norm(llm.run_rows(hidden, flow, llm.depth - 1, rows))
    return out.detach().clone()


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_threads_that_share_a_tower_do_not_disturb_each_other(name, toy_tokenizer):
    """Lengths differ, so whoever gets another's angles or misses its queries fails or is wrong."""
    llm = LLM(toy_decoder(name), toy_tokenizer, name)
    llm.unfreeze(llm.depth - 1)
    batches = [[[5 + i] * (3 + 5 * i), [9] * (2 + i)] for i in range(4)]
    alone = [work(llm, batch) for batch in batches]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(work, [llm] * 40, batches * 10))
    finally:
        sys.setswitchinterval(interval)
    for number, found in enumerate(together):
        assert torch.equal(found, alone[number % 4])


def test_gradients_change_no_config_and_no_block(toy_tokenizer):
    decoder = toy_decoder("llama")
    decoder.config._attn_implementation = "sdpa"
    llm = LLM(decoder, toy_tokenizer, "llama")
    parts = [(part, dict(part.__dict__), dict(part._modules)) for part in llm.modules()]
    llm.unfreeze(0)
    work(llm, CAPTIONS)
    assert decoder.config._attn_implementation == "sdpa"
    for part, attributes, children in parts:
        assert part._modules == children
        assert part.__dict__.keys() == attributes.keys()
        assert part.__dict__.get("config") is attributes.get("config")
    assert all(part.config is decoder.config for part in llm.blocks.modules() if hasattr(part, "config"))


@torch.no_grad()
def test_a_cache_by_any_name_is_found(toy_tokenizer):
    renamed, llm = (LLM(decoder, toy_tokenizer, "toy") for decoder in (with_blocks(Renamed), toy_decoder("llama")))
    for rows_only in (False, True):
        torch.testing.assert_close(*(pass_of(one, CAPTIONS, TREE, rows_only)[0] for one in (renamed, llm)))


def test_blocks_that_take_no_cache_are_refused(toy_tokenizer):
    with pytest.raises(TowerError, match="its blocks show nobody their keys and values"):
        LLM(with_blocks(Deaf), toy_tokenizer, "deaf")


def test_a_family_that_cannot_be_cut_is_refused_in_one_line(toy_tokenizer):
    from transformers import BloomConfig, BloomModel

    decoder = BloomModel(BloomConfig(vocab_size=260, hidden_size=32, n_layer=2, n_head=4)).eval()
    with pytest.raises(TowerError, match="bloom: this model cannot be cut into blocks"):
        LLM(decoder, toy_tokenizer, "bloom")
