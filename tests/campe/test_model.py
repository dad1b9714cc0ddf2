"""CAMPE whole, on toy towers: readouts against separate passes, saving, weights, what learns."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from polyprompt.campe.config import ModelSettings
from polyprompt.campe.encoder import CampeEncoder
from polyprompt.campe.model import CAMPE
from polyprompt.campe.objective import Batch, Objective
from polyprompt.campe.text import join
from polyprompt.disk.files import write_manifest
from polyprompt.errors import ConfigError, DataError, FileError
from polyprompt.nn.segments import segment_scores
from polyprompt.nn.tree import sequences
from polyprompt.settings import checked

TEXTS = ["two dogs play in the snow", "a cat", "a red car on a road"]
WAYS = [
    {},
    {"text.adaptive": "words"},
    {"text.adaptive": "input"},
    {"text.last_n": 2},
    {"text.last_n": 0, "text.adaptive": "words"},
    {"text.shared_map": True},
    {"text.depth": 2},
    {"text.norm": "own"},
    {"text.readout": "last"},
    {"text.readout": "mean"},
    {"text.readout": "tokens"},
    {"text.readout": "end"},
    {"text.lora": 2},
    {"text.lora": 1, "text.last_n": 2, "text.readout": "mean"},
    {"loss.contrast": "sigmoid"},
]


def batch_of(model, pictures, tree=None):
    ids, _ = model.text.llm.tokens(TEXTS, 64)
    pixels = torch.stack([model.preprocess(picture) for picture in pictures[: len(TEXTS)]])
    return Batch(sequences(ids, tree or model.text.tree), None, model.image.frozen_tokens(pixels), None)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_learns_gets_a_gradient_and_nothing_else(way, toy_campe, toy_pictures):
    model = toy_campe(**way)
    Objective(model)(batch_of(model, toy_pictures))["loss"].backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_saved_and_opened_it_gives_the_same_bits(way, toy_campe, toy_pictures, tmp_path):
    model = toy_campe(**way)
    model.save_pretrained(tmp_path / "model")
    fresh = toy_campe(**way)
    for p in fresh.parameters():
        if p.requires_grad:
            p.data.normal_()
    opened = fresh.restored(tmp_path / "model")
    assert torch.equal(opened.similarity(TEXTS, toy_pictures), model.similarity(TEXTS, toy_pictures))


@torch.no_grad()
@pytest.mark.parametrize("adaptive", ["words", "late", "input"])
def test_readouts_equal_one_pass_for_each_prompt(adaptive, toy_campe):
    """Each prompt alone behind each caption, without tree, batch or shortcut."""
    model = toy_campe(**{"text.adaptive": adaptive})
    side, llm = model.text, model.text.llm
    together = model.encode_text(TEXTS)
    for row, caption in enumerate(TEXTS):
        parts = []
        for k, leaf in enumerate(side.tree.readouts):
            (ids,), _ = llm.tokens([caption], 64)
            ids = torch.tensor([ids + list(side.tree.path(leaf))])
            adaptive_at = (
                ids.shape[1] - len(side.tree.ancestors(leaf)) + side.tree.ancestors(leaf).index(side.tree.adaptive[k])
            )
            n = ids.shape[1]
            embeddings = llm.token_embeddings(ids)
            if adaptive == "input":
                embeddings[0, adaptive_at] = side.vectors[k]
            causal = torch.ones(1, n, n).tril().bool()
            hidden, flow = llm.embed(ids, torch.arange(n)[None], causal, embeddings)
            hidden = llm.run(hidden, flow, 0, side.split)
            if adaptive == "late":
                hidden[0, adaptive_at] += side.vectors[k]
            state = side.norm(llm.run(hidden, flow, side.split, llm.depth))[0, -1]
            parts.append(state @ side.maps[k])
        torch.testing.assert_close(together[row], F.normalize(torch.cat(parts), dim=0), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("readout", ["prompts", "mean"])
def test_updates_equal_merged_weights(readout, toy_campe):
    """W + B A in the place of W, in the two trained blocks; as a model, and as an encoder that methods adapt."""
    model, plain = (toy_campe(**{"text.lora": rank, "text.last_n": 2, "text.readout": readout}) for rank in (2, 0))
    plain.load_state_dict({name: t for name, t in model.state_dict().items() if ".updates." not in name})
    before = plain.encode_text(TEXTS)
    layers = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "o_proj"}
    for block, places in model.text.updates.items():
        for place, update in places.items():
            layer = getattr(plain.text.llm.blocks[int(block)].self_attn, layers[place])
            layer.weight += update.B @ update.A
    found = model.encode_text(TEXTS)
    torch.testing.assert_close(found, plain.encode_text(TEXTS), rtol=1e-5, atol=1e-5)
    assert (found - before).abs().max() > 1e-2
    encoder = CampeEncoder(model, "toy")
    torch.testing.assert_close(encoder.encode_text(TEXTS), found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("way", "says"), [({"text.last_n": 0, "text.adaptive": "words"}, "trained blocks"),
                                           ({"text.lora": 100}, "at most its width")])  # fmt: skip
def test_updates_that_cannot_be(way, says, toy_campe):
    with pytest.raises(ConfigError, match=says):
        toy_campe(**{"text.lora": 2} | way)


@torch.no_grad()
def test_the_tree_with_negations_gives_the_same_segments(toy_campe):
    model = toy_campe()
    ids, _ = model.text.llm.tokens(TEXTS, 64)
    both = model.text(sequences(ids, model.text.tree))
    torch.testing.assert_close(join(both.segments), model.encode_text(TEXTS), rtol=1e-5, atol=1e-5)
    assert both.negated.shape == both.segments.shape
    assert model.text(sequences(ids, model.text.tree.positive())).negated is None


@torch.no_grad()
def test_aspect_weights_scale_the_segments_of_the_query(toy_campe, toy_pictures):
    model = toy_campe()
    weights = [1.25, 1.0, 0.5]
    texts, images = model.encode_text(TEXTS), model.encode_image(toy_pictures)
    slow = sum(w * texts[:, 4 * k : 4 * k + 4] @ images[:, 4 * k : 4 * k + 4].T for k, w in enumerate(weights))
    torch.testing.assert_close(model.similarity(TEXTS, toy_pictures, weights), slow)
    with pytest.raises(ConfigError, match="2 aspect weights for 3 prompts"):
        model.similarity(TEXTS, toy_pictures, [1.0, 1.0])


@torch.no_grad()
def test_one_attention_map_for_each_segment(toy_campe, toy_pictures):
    maps = toy_campe().attention(toy_pictures)
    assert maps.shape[:2] == (5, 3)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(5, 3))


@torch.no_grad()
def test_diversity_is_that_of_the_scores_or_of_the_readouts(toy_campe, toy_pictures):
    model = toy_campe()
    batch = batch_of(model, toy_pictures)
    texts, images = model.encode_text(TEXTS), model.encode_image(toy_pictures[: len(TEXTS)])
    scores = segment_scores(texts.unflatten(1, (3, 4)), images.unflatten(1, (3, 4)))
    correlations = np.corrcoef(scores.flatten(0, 1).T)[np.tril_indices(3, -1)]
    assert float(Objective(model)(batch)["diversity"]) == pytest.approx((correlations**2).mean(), rel=1e-4)

    model = toy_campe(**{"loss.diversity_of": "readouts"})
    reads = model.text(batch.captions).readouts
    units = F.normalize(reads - reads.mean(dim=0), dim=-1)
    cosines = np.stack([(rows @ rows.T)[np.tril_indices(3, -1)] for rows in units.numpy()])
    assert float(Objective(model)(batch)["diversity"]) == pytest.approx((cosines**2).mean(), rel=1e-4)


def test_twenty_steps_lower_the_loss(toy_campe, toy_pictures):
    model = toy_campe()
    task, batch = Objective(model), batch_of(model, toy_pictures)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(20):
        loss = task(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dim": 10}, "dim is 10, which 3 prompts do not divide"),
        ({"text.template": "the image means:"}, "0 places for an adaptive word"),
        ({"text.template": "the {} of {}:"}, "2 places for an adaptive word"),
        ({"text.prompts": 17}, "17 and there are 16 words"),
        ({"text.last_n": 4}, "the text tower has 3 blocks"),
        ({"text.last_n": 0}, 'use "words"'),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_one_clear_line(settings, words, toy_campe):
    with pytest.raises(ConfigError, match=words) as caught:
        toy_campe(**settings)
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_refused_with_the_near_one():
    with pytest.raises(ConfigError, match=r"no setting is called 'text.promts'. Did you mean text.prompts"):
        checked(ModelSettings, {"text": {"promts": 3}})


def test_other_braces_of_a_template_are_text(toy_campe):
    braces = {"text.template": "{} {x} {", "text.negated_template": "} not {}", "loss.negation": 0.1}
    model, plain = toy_campe(**braces), toy_campe()
    assert model.prompts == tuple(f"{word} {{x}} {{" for word in model.settings.text.adaptive_words())
    assert model.encode_text(["a dog"]).shape == plain.encode_text(["a dog"]).shape


def test_an_empty_text_is_refused(toy_campe):
    with pytest.raises(DataError, match="is empty"):
        toy_campe().encode_text(["a dog", ""])


def test_another_backbone_or_a_flipped_bit_is_refused(toy_campe, tmp_path):
    model = toy_campe()
    model.save_pretrained(tmp_path / "model")
    other = toy_campe()
    other.text.llm.fingerprint = "0" * 64
    with pytest.raises(FileError, match="Use the same weights"):
        other.restored(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(FileError, match=r"model\.safetensors"):
        CAMPE.from_pretrained(tmp_path / "model")
    with pytest.raises(FileError, match="no saved model here"):
        CAMPE.from_pretrained(tmp_path)


@pytest.mark.parametrize("names", [["config.json", "README.md"], ["model.safetensors"]])
def test_a_manifest_that_does_not_name_what_is_opened_is_refused(names, toy_campe, tmp_path):
    model = toy_campe()
    model.save_pretrained(tmp_path / "model")
    write_manifest(tmp_path / "model", names)
    with pytest.raises(FileError, match=r"manifest\.json: damaged, it does not name (model|config)\."):
        model.restored(tmp_path / "model")


def test_the_settings_stand_in_the_saved_folder(toy_campe, tmp_path):
    model = toy_campe()
    model.save_pretrained(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["settings"]["dim"] == 12


@torch.no_grad()
def test_one_text_or_picture_is_one_row(toy_campe, toy_pictures, tmp_path):
    """A text was once taken letter by letter."""
    model = toy_campe()
    file = tmp_path / "a.png"
    toy_pictures[0].save(file)
    assert torch.equal(model.encode_text("a sad cat"), model.encode_text(["a sad cat"]))
    row = model.encode_image([toy_pictures[0]])
    for one in (toy_pictures[0], file, str(file), model.preprocess(toy_pictures[0])):
        assert torch.equal(model.encode_image(one), row)
    assert model.similarity("a cat", toy_pictures).shape == (1, 5)
    assert model.attention(file).shape == (1, 3, *model.image.grid)


@pytest.mark.parametrize("call", ["encode_text", "encode_image", "attention"])
def test_nothing_is_refused_in_one_line(call, toy_campe):
    with pytest.raises(DataError, match="were given; give at least one"):
        getattr(toy_campe(), call)([])


@torch.no_grad()
def test_rows_before_they_are_normalised(toy_campe, toy_pictures):
    model = toy_campe()
    images = [toy_pictures[0], toy_pictures[1:4], toy_pictures[4]]  # the one in the middle is a video
    for encode, given in ((model.encode_text, TEXTS), (model.encode_image, toy_pictures), (model.encode_image, images)):
        raw, unit = encode(given, normalize=False), encode(given)
        torch.testing.assert_close(F.normalize(raw, dim=-1), unit)
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(len(given)))
        assert (raw.norm(dim=-1) - 1).abs().min() > 1e-3
    frames = model.encode_image(toy_pictures[1:4])
    torch.testing.assert_close(model.encode_image(images, normalize=False)[1], frames.mean(dim=0))


@torch.no_grad()
def test_attention_of_a_video_is_the_mean_over_its_frames(toy_campe, toy_pictures):
    model = toy_campe()
    alone = model.attention(toy_pictures)
    together = model.attention([toy_pictures[0], toy_pictures[1:4], toy_pictures[4]])
    expected = torch.stack([alone[0], (alone[1] + alone[2] + alone[3]) / 3, alone[4]])
    torch.testing.assert_close(together, expected)


def test_logit_scale_is_the_logarithm(toy_campe):
    """As CLIP and open_clip keep it; the factor is at most 100, as theirs."""
    model = toy_campe()
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    assert model.scale.item() == pytest.approx(1 / 0.07)
    model.logit_scale.data.fill_(6.0)
    assert model.scale.item() == pytest.approx(100)


def test_aspect_weights_beyond_float32_are_refused(toy_campe):
    with pytest.raises(ConfigError, match="each must be a number that float32 can hold"):
        toy_campe().weighted(torch.zeros(1, 12), [1e39, 1.0, 1.0])


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_parameter_that_learns_is_of_one_kind(way, toy_campe):
    model = toy_campe(**way)
    kinds = {kind: {id(p) for p in some} for kind, some in model.parameters_by_kind().items()}
    name_of = {id(p): name for name, p in model.named_parameters()}
    assert sum(map(len, kinds.values())) == len(set().union(*kinds.values()))
    assert set().union(*kinds.values()) == {id(p) for p in model.parameters() if p.requires_grad}

    def names(kind):
        return {name_of[p] for p in kinds[kind]}

    fitted = {"text.fitted_norm.weight", "text.fitted_norm.bias"} if way.get("text.norm") != "own" else set()
    assert names("norms") == {"image.new_norm.weight", "image.new_norm.bias"} | fitted
    learning = {name_of[id(p)] for p in model.parameters() if p.requires_grad}
    assert names("plain") == {"logit_scale", "text.vectors"} & learning
    assert names("bias") == {"bias"} & learning
    first = model.text.llm.depth if way.get("text.lora") else model.text.split
    blocks = {f"text.llm.blocks.{n}" for n in range(first, model.text.llm.depth)}
    assert {".".join(name.split(".")[:4]) for name in names("towers") if "norm" not in name.split(".")[2]} == blocks
    assert all(name.startswith(("text.maps", "text.updates.", "image.")) for name in names("new"))
