"""CAMPE's text side in parts: the tree of its prompts, what is read out, and the norm fitted to it."""

import numpy as np
import pytest
import torch
from toy_decoders import toy_decoder

from polyprompt.campe.text import FittedNorm, TextSide, join, prompt_tree, token_row
from polyprompt.errors import ConfigError
from polyprompt.nn.tree import PromptTree, sequences
from polyprompt.towers.llm import LLM

CAPTIONS = ["two dogs play in the snow", "a cat", "a red car"]
TEMPLATE = "the {} of it:"


@pytest.fixture
def llm(toy_tokenizer):
    return LLM(toy_decoder("llama"), toy_tokenizer, "toy")


@pytest.fixture
def batch(llm):
    """Lays the captions out, with a tree behind each."""
    ids, _ = llm.tokens(CAPTIONS, 64)
    return lambda tree: sequences(ids, tree)


def test_the_tree_holds_each_prompt_and_its_negation_letter_by_letter(llm):
    tree = prompt_tree(llm, ["mood", "place"], TEMPLATE, "the {} of it is NOT:")
    message = [llm.tokenizer.decode(tree.path(leaf)) for leaf in tree.readouts + tree.negated]
    assert message == [" the mood of it:", " the place of it:", " the mood of it is NOT:", " the place of it is NOT:"]
    # The toy tokenizer makes a token of each byte; the last of a word is the adaptive one.
    assert [llm.tokenizer.decode(tree.path(node)) for node in tree.adaptive] == [" the mood", " the place"]
    assert prompt_tree(llm, ["mood"], TEMPLATE, None).negated == ()


def test_a_token_row_reads_every_one_of_its_tokens(llm):
    tree = token_row(llm, ["a", "b", "c"])
    assert tree.readouts == tree.adaptive == (0, 1, 2)
    assert llm.tokenizer.decode(tree.path(2)) == "abc"


@pytest.mark.parametrize("word", ["", " ", "\n"])
def test_a_word_without_letters_is_refused(llm, word):
    with pytest.raises(ConfigError, match="use a plain word"):
        prompt_tree(llm, [word], TEMPLATE, None)


def test_a_fitted_norm_gives_each_coordinate_mean_0_and_deviation_1():
    states = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 8) + 3
    norm = FittedNorm(7)
    torch.testing.assert_close(norm(states), states)  # not fitted, it changes nothing
    norm.fit(states)
    expected = (states.numpy() - states.numpy().mean(axis=0)) / states.numpy().std(axis=0, ddof=1)
    np.testing.assert_allclose(norm(states).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_fitted_norm_survives_a_coordinate_that_never_moves():
    norm = FittedNorm(2)
    norm.fit(torch.tensor([[1.0, 5.0], [2.0, 5.0]]))
    assert norm(torch.tensor([[1.0, 5.0]])).tolist() == [[pytest.approx(-(0.5**0.5)), 0.0]]


def test_scale_and_shift_of_a_fitted_norm_learn_and_its_figures_do_not():
    norm = FittedNorm(3)
    assert {name for name, _ in norm.named_parameters()} == {"weight", "bias"}
    assert {name for name, _ in norm.named_buffers()} == {"mean", "deviation"}
    torch.testing.assert_close(norm.requires_grad_(True)(torch.ones(2, 3)), torch.ones(2, 3), check_stride=False)


@torch.no_grad()
def test_the_side_fits_its_norm_to_the_readouts_and_leaves_the_towers_alone(llm, batch):
    own = llm.norm
    side = TextSide(llm, prompt_tree(llm, ["mood", "place"], TEMPLATE, None), dim=4, fitted_norm=True)
    assert side.llm.norm is own
    assert not any(p.requires_grad for p in own.parameters())
    laid = batch(side.tree)
    before = side(laid).readouts
    side.fit_norm(laid)
    after = side(laid).readouts.flatten(0, 1)
    torch.testing.assert_close(after.mean(dim=0), torch.zeros(llm.width), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.std(dim=0), torch.ones(llm.width), atol=1e-4, rtol=0)
    torch.testing.assert_close(side.norm.mean, before.flatten(0, 1).mean(dim=0))


@torch.no_grad()
def test_without_a_fitted_norm_the_llms_own_is_kept_and_learns(llm, batch):
    side = TextSide(llm, prompt_tree(llm, ["mood"], TEMPLATE, None), dim=4)
    assert side.norm is llm.norm
    assert all(p.requires_grad for p in llm.norm.parameters())
    laid = batch(side.tree)
    before = side(laid).readouts
    side.fit_norm(laid)
    assert torch.equal(side(laid).readouts, before)


@torch.no_grad()
@pytest.mark.parametrize("readout", ["last", "mean"])
def test_last_and_mean_are_those_of_the_captions_tokens(readout, llm, batch):
    side = TextSide(llm, PromptTree(), readout=readout, dim=4)
    together = side(batch(PromptTree())).readouts[:, 0]
    for row, caption in enumerate(CAPTIONS):
        (ids,), _ = llm.tokens([caption], 64)
        n = len(ids)
        hidden, flow = llm.embed(torch.tensor([ids]), torch.arange(n)[None], torch.ones(1, n, n).tril().bool())
        states = llm.norm(llm.run(hidden, flow, 0, llm.depth))[0]
        expected = states[-1] if readout == "last" else sum(states) / n
        torch.testing.assert_close(together[row], expected, rtol=1e-5, atol=1e-5)


def test_segments_keep_their_shares_of_the_joined_vector():
    """Normalised as a whole: 3-4-5 by hand."""
    joined = join(torch.tensor([[[3.0], [4.0]]]))
    torch.testing.assert_close(joined, torch.tensor([[0.6, 0.8]]))
