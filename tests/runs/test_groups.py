"""Which parameter learns at which rate, with or without decay; and that the fitted norm is fitted at all."""

import pytest
import timm
import torch
from run_files import learned
from timm.models import save_for_hf
from toy_runs import toy_settings

from polyprompt.campe.model import build
from polyprompt.data.read import read_pairs
from polyprompt.nn.losses import sigmoid_contrast
from polyprompt.nn.tree import sequences
from polyprompt.runs.align import align, balanced_bias
from polyprompt.runs.groups import parameter_groups

RATES = {"rate": 0.3, "tower_rate": 0.02, "norm_rate": 0.1}


def groups_of(settings):
    """{name: (rate, decay)} of all that learns; None for the optimiser's own decay."""
    model = build(settings)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in parameter_groups(model, settings, model):
        assert group["params"]
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name not in found
            found[name] = (group["lr"], group.get("weight_decay"))
    assert found.keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return found


def with_text(place, **settings):
    return {"tower": str(place / "llm"), "prompts": 3, **settings}


def test_each_part_has_its_rate(place):
    """A CNN with a new block on it, K = 3 prompts with late tokens, a fitted norm: the defaults."""
    found = groups_of(toy_settings(place, **RATES))
    new, towers, norms, plain = (0.3, None), (0.02, None), (0.1, None), (0.3, 0.0)
    block = {name for name in found if name.startswith("text.llm.blocks.2.")}
    image = {name for name in found if name.startswith(("image.new_blocks.0.", "image.pool.", "image.entrance."))}
    assert len(block) == 9  # four of attention, three of the MLP, two norms
    expected = dict.fromkeys(block, towers) | dict.fromkeys(image, new)
    expected |= dict.fromkeys(["text.maps", "image.positions", "image.last_norm.weight", "image.last_norm.bias"], new)
    sides = ("text.fitted_norm", "image.new_norm")
    expected |= {f"{norm}.{part}": norms for norm in sides for part in ("weight", "bias")}
    expected |= {"logit_scale": plain, "text.vectors": plain}
    assert found == expected
    by_default = groups_of(toy_settings(place, **RATES | {"norm_rate": None}))
    assert by_default == {name: new if group == norms else group for name, group in expected.items()}


def test_the_towers_own_norms_and_blocks_learn_at_the_towers_rate(place, tmp_path):
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_vit", pretrained=False), tmp_path / "vit", safe_serialization=True)
    image = {"tower": str(tmp_path / "vit"), "trained_blocks": 1, "queries": 3}
    found = groups_of(toy_settings(place, **RATES, text=with_text(place, norm="own"), image=image))
    towers = {name for name, (rate, decay) in found.items() if (rate, decay) == (0.02, None)}
    assert "text.llm.norm.weight" in towers
    assert {name for name in towers if name.startswith("image.tower.norm.")}
    assert {name for name in towers if name.startswith("image.tower.blocks.0.")}
    assert all(name.startswith(("text.llm.", "image.tower.")) for name in towers)
    assert all(not name.startswith(("text.llm.", "image.tower.")) for name in found.keys() - towers)


def test_scale_bias_and_adaptive_tokens_are_not_decayed(place):
    for adaptive, tokens in (("late", {"text.vectors"}), ("input", {"text.vectors"}), ("words", set())):
        for contrast, bias in (("softmax", set()), ("sigmoid", {"bias"})):
            settings = toy_settings(place, text=with_text(place, adaptive=adaptive), loss={"contrast": contrast})
            found = groups_of(settings)
            assert {name for name, (_, decay) in found.items() if decay == 0} == {"logit_scale"} | tokens | bias


def test_decay_reaches_what_is_decayed_and_nothing_else(place, tmp_path):
    """One step with and without: what is decayed is smaller by rate * decay of what it was, all else is the same."""
    settings = toy_settings(place, epochs=1, batch=16, weight_decay=0.5, rate=0.1, tower_rate=0.01)
    torch.manual_seed(settings.seed)
    before = build(settings).learned()
    align(settings, tmp_path / "decayed")
    align(settings.model_copy(update={"weight_decay": 0.0}), tmp_path / "plain")
    decayed, plain = learned(tmp_path / "decayed"), learned(tmp_path / "plain")
    for name, (rate, decay) in groups_of(settings).items():
        expected = plain[name] - (rate * 0.5 * before[name] if decay is None else 0)
        torch.testing.assert_close(decayed[name], expected, msg=name)
    assert decayed["logit_scale"] == plain["logit_scale"] != before["logit_scale"]


def test_the_fitted_norm_is_fitted_to_the_first_captions(place, tmp_path):
    """Mean and deviation of what a model without it reads out, computed here."""
    settings = toy_settings(place, epochs=1, cache=False)
    torch.manual_seed(settings.seed)
    model = build(settings)
    ids, _ = model.text.llm.tokens(read_pairs(settings.data, "train").captions, 64)
    with torch.no_grad():  # a norm that is not fitted changes nothing
        rows = model.text(sequences(ids, model.text.tree.positive())).readouts.flatten(0, 1)
    align(settings, tmp_path / "run")
    saved = learned(tmp_path / "run")
    torch.testing.assert_close(saved["text.fitted_norm.mean"], rows.mean(dim=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(saved["text.fitted_norm.deviation"], rows.std(dim=0), rtol=1e-4, atol=1e-5)
    assert rows.mean(dim=0).abs().max() > 0.01


@pytest.mark.parametrize(("given", "rate"), [({}, 30.0), ({"bias_rate": 0.4}, 0.4)])
def test_a_sigmoids_bias_has_a_rate_of_its_own(place, given, rate):
    found = groups_of(toy_settings(place, **RATES, **given, loss={"contrast": "sigmoid"}))
    assert found["bias"] == (rate, 0.0)


@pytest.mark.parametrize("batch", [2, 7, 256])
def test_a_balanced_bias_wants_neither_up_nor_down(batch):
    """With all cosines at zero, the gradient of the bias is nothing: one pair against all negatives."""
    bias = torch.tensor(balanced_bias(batch), requires_grad=True)
    rows = torch.eye(2 * batch)
    sigmoid_contrast(rows[:batch], rows[batch:], torch.tensor(10.0), bias).backward()
    assert abs(float(bias.grad)) < 1e-4


def test_where_scale_and_bias_start(place, tmp_path):
    """As said, or balanced; after one step at a rate of nearly nothing they are still there."""
    for facts, expected in (({}, (1 / 0.07, balanced_bias(4))), ({"scale": 20.0, "bias": -3.0}, (20.0, -3.0))):
        rates = {"rate": 1e-12, "tower_rate": 1e-12, "epochs": 1, "batch": 4, "test_split": None, "dev_split": None}
        settings = toy_settings(place, **rates, loss={"contrast": "sigmoid", **facts})
        model = align(settings, tmp_path / f"run{len(facts)}")
        assert (model.scale.item(), model.bias.item()) == pytest.approx(expected)
