"""A text tower that starts from nothing: the same function as transformers' GPT-2, trained whole, opened again."""

import contextlib

import pytest
import torch
from torch.nn import functional as F
from toy_runs import toy_settings
from transformers import GPT2Config, GPT2Model

import polyprompt
from polyprompt.campe.model import build
from polyprompt.errors import TowerError
from polyprompt.runs.align import align
from polyprompt.towers.llm import open_llm

TEXTS = ["a red square", "something that is longer"]


def settings_of(place, readout, **settings):
    text = {"tower": f"vanilla:16x2@{place / 'llm'}", "readout": readout}
    return toy_settings(place, text=text, epochs=1, **settings)


@pytest.fixture(scope="module")
def run(place, tmp_path_factory, module_cache):
    folder = tmp_path_factory.mktemp("vanilla")
    with contextlib.chdir(place):
        text = {"tower": "vanilla:16x2@llm", "readout": "end"}  # from here; it is opened from elsewhere
        align(toy_settings(place, text=text, epochs=1), folder / "run")
    return folder / "run"


@torch.no_grad()
def test_it_is_gpt2_with_an_end_token_read_out(run):
    model = polyprompt.load(run)
    side, tokenizer = model.text, model.text.llm.tokenizer
    uncut = GPT2Model(GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=1, activation_function="gelu"))
    theirs = {name: side.llm.entrance.state_dict()[name] for name in ("wte.weight", "wpe.weight")}
    theirs |= {f"h.{name}": tensor for name, tensor in side.llm.blocks.state_dict().items()}
    theirs |= {f"ln_f.{name}": tensor for name, tensor in side.llm.norm.state_dict().items()}
    assert not uncut.load_state_dict(theirs, strict=False).unexpected_keys
    for row, text in enumerate(TEXTS):
        ids = side.llm.tokens([text], 64)[0][0] + [tokenizer.eos_token_id]
        last = uncut.eval()(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        expected = F.normalize(last @ side.maps[0], dim=0)
        torch.testing.assert_close(model.encode_text(TEXTS)[row], expected, rtol=1e-4, atol=1e-5)


def test_all_of_it_learns_and_nothing_is_kept_of_texts(run, place, module_cache):
    torch.manual_seed(0)
    before = dict(build(settings_of(place, "end")).learned())
    after = dict(polyprompt.load(run).learned())
    assert "text.llm.entrance.wte.weight" in after
    whole = {name for name in after if name.startswith("text.")}
    assert all(not after[name].equal(before[name]) for name in whole if not name.endswith("k_proj.bias"))
    kinds = build(settings_of(place, "mean")).parameters_by_kind()
    assert not kinds["towers"]
    assert not (module_cache / "states").exists()


def test_seeds_start_apart_and_share_a_fingerprint(place):
    towers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        towers.append(open_llm(f"vanilla:16x2@{place / 'llm'}"))
    assert towers[0].fingerprint == towers[1].fingerprint
    assert not torch.equal(*(tower.token_embeddings(torch.tensor([[5]])) for tower in towers))
    assert open_llm(f"vanilla:16x3@{place / 'llm'}").fingerprint != towers[0].fingerprint


@pytest.mark.parametrize("name", ["vanilla:16", "vanilla:0x2", "vanilla:16x2@", "vanilla:4x1", "vanilla:99999x2"])
def test_names_that_are_none(name):
    with pytest.raises(TowerError, match="write its width and its blocks"):
        open_llm(name)
