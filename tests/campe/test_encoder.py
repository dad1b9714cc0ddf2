"""A CAMPE model as a dual encoder: equal to the model, prompts against a slow loop, opened by name."""

import copy
import json

import pytest
import timm
import torch
from bits import towers
from toy_encoders import through

import polyprompt
from polyprompt.adapt.adapter import entering
from polyprompt.adapt.engine import build
from polyprompt.campe.config import ModelSettings
from polyprompt.campe.encoder import CampeEncoder
from polyprompt.campe.model import CAMPE
from polyprompt.campe.model import build as model_of
from polyprompt.errors import ConfigError, DataError, FileError, TowerError
from polyprompt.methods import coop, maple, vpt
from polyprompt.nn.prompts import slot
from polyprompt.nn.tree import sequences
from polyprompt.runs.load import load_encoder
from polyprompt.runs.saved import save
from polyprompt.settings import checked
from polyprompt.towers.base import INPUT, Change, DualEncoder, ImageTower, Rows, TextTower
from polyprompt.towers.clip import Savings
from polyprompt.towers.timm import TimmTower

TEXTS = ["two dogs play in the snow", "a cat", "a red car on a road " * 5]
WAYS = [
    {},
    {"text.adaptive": "words", "text.last_n": 2},
    {"text.adaptive": "input"},
    {"text.last_n": 3},
    {"text.last_n": 0, "text.adaptive": "words"},
    {"text.depth": 2},
    {"text.readout": "last"},
    {"text.readout": "mean"},
    {"text.readout": "tokens"},
    {"text.shared_map": True},
    {"loss.contrast": "sigmoid"},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_without_prompts_it_is_the_model(way, toy_campe, toy_pictures):
    model = toy_campe(**way)
    texts, images, scale = model.encode_text(TEXTS), model.encode_image(toy_pictures), model.scale.detach()
    encoder = CampeEncoder(model, "toy")
    assert isinstance(encoder, DualEncoder)
    assert isinstance(encoder.text, TextTower)
    assert isinstance(encoder.image, ImageTower)
    pixels = torch.stack([encoder.image.preprocess(picture) for picture in toy_pictures])
    torch.testing.assert_close(encoder.encode_text(TEXTS), texts, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_image(pixels), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.logit_scale.exp(), scale)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_start_token_stands_in_front_of_every_text(toy_campe):
    from tokenizers.processors import TemplateProcessing

    model = toy_campe()
    model.text.llm.tokenizer = copy.deepcopy(model.text.llm.tokenizer)
    front = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", model.text.llm.tokenizer.bos_token_id)])
    model.text.llm.tokenizer.backend_tokenizer.post_processor = front
    texts = model.encode_text(TEXTS)
    encoder = CampeEncoder(model, "toy")
    assert encoder.text.front == [256]
    assert encoder.text.max_tokens == 63
    assert encoder.text.words("ab") == toy_campe().text.llm.tokens(["ab"], 9)[0][0]
    torch.testing.assert_close(encoder.encode_text(TEXTS), texts, atol=1e-5, rtol=0)


ROWS = [[slot(0), slot(1), 65, 66, 67], [slot(0), slot(1), 65, 70], [71, slot(1), slot(0), 72]]


def slowly(side, row, change):
    """One text, each prompt of the tree alone behind it: no tree, no batch, no shortcut. Below the first block with
    prompts the slots are not there at all; the other tokens keep their places."""
    llm, tree, parts = side.llm, side.tree.positive(), []
    layers = {block: rows.rows for block, rows in change.entering.items()}
    for k, leaf in enumerate(tree.readouts):
        tokens = [*row, *tree.path(leaf)]
        places = [place for place, token in enumerate(tokens) if token < 0]
        vectors = {place: ~tokens[place] for place in places}
        n, others = len(tokens), [place for place, token in enumerate(tokens) if token >= 0]
        adaptive = len(row) + tree.ancestors(leaf).index(tree.adaptive[k])
        embeddings = llm.token_embeddings(torch.tensor([[max(token, 0) for token in tokens]])).clone()
        if side.adaptive == "input":
            embeddings[0, adaptive] = side.vectors[k]
        if change.start == INPUT:
            for place in places:
                embeddings[0, place] = layers[INPUT][vectors[place]]
        causal = torch.ones(1, n, n).tril().bool()
        hidden, flow = llm.embed(torch.zeros(1, n).long(), torch.arange(n)[None], causal, embeddings)
        few = torch.tensor([others])
        _, without = llm.embed(torch.zeros_like(few), few, causal[:, few[0]][:, :, few[0]])
        for block in range(llm.depth):
            if side.adaptive == "late" and block == side.split:
                hidden[0, adaptive] += side.vectors[k]
            if block in layers:
                for place in places:
                    hidden[0, place] = layers[block][vectors[place]]
            if block < change.start:
                hidden[:, others] = llm.run(hidden[:, others], without, block, block + 1)
            else:
                hidden = llm.run(hidden, flow, block, block + 1)
        parts.append(side.norm(hidden)[0, -1] @ side.maps[k])
    return torch.cat(parts)


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS[:4], ids=str)
@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 3), (1, 1), (1, 2), (2, 1)])
def test_prompts_equal_the_slow_loop(way, start, count, toy_campe):
    encoder = CampeEncoder(toy_campe(**way), "toy")
    change = entering([torch.randn(2, 32) for _ in range(count)], start)
    expected = torch.stack([slowly(encoder.text.side, row, change) for row in ROWS])
    torch.testing.assert_close(through(encoder.text, ROWS, change), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("block", [0, 1])
def test_rows_that_enter_a_block_with_gaps_and_slots_left_alone(block, toy_campe):
    """Slots read rows by `of`: slot 0 row 1, slot 1 none, at the input both; then none between that and `block`."""
    encoder = CampeEncoder(toy_campe(), "toy")
    first, later = torch.randn(2, 32), torch.randn(2, 32)
    text, states = encoder.text, []
    hook = text.side.llm.blocks[block].register_forward_pre_hook(lambda module, args: states.append(args[0]))
    change = Change(input=Rows(first), prompts={block: Rows(later, of=(1, -1))})
    found = through(text, ROWS, change)
    entering_block = states[-1][0]
    hook.remove()
    assert not torch.allclose(found, through(text, ROWS, Change(input=Rows(first))), atol=1e-3)
    torch.testing.assert_close(entering_block[0], later[1])  # slot 0 of the first text reads row 1
    kept = Change(input=Rows(first), prompts={block: Rows(torch.stack([later[1], entering_block[1]]))})
    torch.testing.assert_close(found[:1], through(text, ROWS[:1], kept))  # slot 1 keeps the state it had


@torch.no_grad()
def test_pictures_with_rows_of_their_own_are_those_alone(toy_campe):
    encoder = CampeEncoder(toy_campe(), "toy")
    rows = torch.randn(2, 3, 32)
    together = through(encoder.text, ROWS, Change(input=Rows(rows)))
    alone = [through(encoder.text, ROWS, Change(input=Rows(rows[:, i]))) for i in range(3)]
    torch.testing.assert_close(together, torch.stack(alone, dim=1))


@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("savings", [Savings(nodes=60), Savings(last_row=False)], ids=["in parts", "all rows"])
def test_parts_and_savings_change_neither_numbers_nor_gradients(start, savings, toy_campe):
    encoder = CampeEncoder(toy_campe(), "toy")
    layers = tuple(torch.randn(2, 32, requires_grad=True) for _ in range(min(2, 3 - start)))

    def run():
        vectors = through(encoder.text, ROWS, entering(layers, start))
        return vectors.detach(), torch.autograd.grad(vectors.square().sum(), layers)

    expected = run()
    encoder.saving(savings)
    torch.testing.assert_close(run(), expected)


def test_blocks_below_the_prompts_run_once(toy_campe):
    """And once for texts that differ in their slots alone."""
    encoder = CampeEncoder(toy_campe(), "toy")
    rows = [[slot(2 * image), slot(2 * image + 1), 65, name] for image in range(3) for name in (66, 67)]
    change, runs = entering([torch.randn(6, 32)], 2), []
    block = encoder.text.side.llm.blocks[0]
    block.register_forward_hook(lambda module, args, out: runs.append(len(args[0])))
    texts = encoder.text.prepare(rows, change.plan)
    states = encoder.text.below(texts, 2)
    first = encoder.text.above(texts, states, change).vectors
    assert torch.equal(encoder.text.above(texts, states, change).vectors, first)
    assert runs == [2]
    assert not torch.allclose(first[0], first[2], atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("own", [True, False], ids=["a ViT's own blocks", "new blocks"])
@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 2), (1, 1)])
def test_image_prompts_enter_the_image_sides_blocks(own, start, count, toy_campe, toy_pictures):
    """Against the side's own parts, block by block."""
    if own:
        text = toy_campe().text.llm
        vit = timm.create_model("test_vit", pretrained=False)
        tower = TimmTower(vit, name="test_vit", fingerprint="toy", trained_blocks=2)
        encoder = CampeEncoder(CAMPE(checked(ModelSettings, {"dim": 12, "text": {"prompts": 3}}), text, tower), "toy")
    else:
        encoder = CampeEncoder(toy_campe(**{"image.new_blocks": 2}), "toy")
    side = encoder.image.side
    assert encoder.image.depth == 2
    pixels = torch.stack([encoder.image.preprocess(picture) for picture in toy_pictures])
    layers = [torch.randn(3, encoder.image.width) for _ in range(count)]
    states = side.tower.trunk_tokens(pixels)
    if not own:
        states = side.entrance(side.tokens_norm(states)) + side.positions
    own_tokens = states.shape[1]
    for block in range(2):
        if start <= block < start + count:
            layer = layers[block - start].expand(len(pixels), -1, -1)
            states = torch.cat([states[:, :own_tokens], layer], dim=1)
        states = side.blocks[block](states)
    states = side.norm(states)[:, side.tower.prefix : own_tokens]
    expected = side.pool(states)[0].flatten(1)
    change = entering(layers, start)
    found = encoder.image.above(encoder.image.below(pixels, change.start), change)
    torch.testing.assert_close(found.vectors, expected)
    assert found.tokens.shape == (len(pixels), 3, encoder.image.width)


def test_an_image_side_without_blocks_says_why_it_takes_no_prompts(toy_campe):
    encoder = CampeEncoder(toy_campe(**{"image.new_blocks": 0}), "toy")
    assert encoder.image.depth == 0
    with pytest.raises(ConfigError, match=r"the image side has no blocks of its own.*new_blocks"):
        build(vpt.Config(depth=1), encoder, ["cat", "dog"])
    coop_method = build(coop.Config(context=1), encoder, ["cat", "dog"])
    assert coop_method.head().classes.shape == (2, 12)


def test_towers_of_other_depths_meet_where_the_config_says(toy_campe):
    """Three text blocks and one image block: the last two of the text, the one of the image."""
    encoder = CampeEncoder(toy_campe(), "toy")
    method = build(maple.Config(depth=2, words="a photo", text_start=1), encoder, ["cat", "dog"])
    view = method.see(torch.zeros(1, 3, 64, 64))
    assert list(method.adapter.text_change(view).entering) == [1, 2]
    assert list(method.adapter.image_change(view).entering) == [INPUT]


def test_texts_that_do_not_fit_are_named(toy_campe):
    text = CampeEncoder(toy_campe(), "toy").text
    assert text.max_tokens == 64
    for row in ([], [65] * 65):
        with pytest.raises(DataError, match=f"text 1 has {len(row)} tokens; this text tower reads 1 to 64"):
            text.prepare([[65], row])


def test_the_fingerprint_changes_with_what_was_learned(toy_campe):
    one, same, other = toy_campe(), toy_campe(), toy_campe()
    other.text.maps.data[0, 0, 0] += 1e-3
    prints = [CampeEncoder(model, "toy").fingerprint for model in (one, same, other, toy_campe(**{"text.last_n": 2}))]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_opened_by_name(tmp_path):
    towers(tmp_path)
    text, image = {"tower": str(tmp_path / "llm"), "prompts": 3}, {"tower": str(tmp_path / "cnn"), "width": 16}
    model = model_of(checked(ModelSettings, {"dim": 12, "text": text, "image": image})).eval()
    texts = model.encode_text(TEXTS)
    run = tmp_path / "run"
    run.mkdir()
    (run / "inputs.json").write_text('{"kind": "align"}')
    with pytest.raises(FileError, match="this run has no model yet"):
        load_encoder(str(run))
    model.save_pretrained(run / "model")
    for name in (str(run), str(run / "model")):
        encoder = polyprompt.load_encoder(name)
        assert encoder.name == name
        torch.testing.assert_close(encoder.encode_text(TEXTS), texts)
    save(build(coop.Config(context=1), encoder, ["cat", "dog"]), tmp_path / "adapter")
    with pytest.raises(TowerError, match=rf"holds prompts that were trained on '{run}/model', no encoder"):
        load_encoder(str(tmp_path / "adapter"))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(TowerError, match="bert"):
        load_encoder(str(foreign))


def test_a_batch_with_negations_is_not_what_it_runs(toy_campe):
    """Classes are read out by the prompts alone, also where the model was trained with negations."""
    encoder = CampeEncoder(toy_campe(), "toy")
    assert len(encoder.text.tree) < len(encoder.text.side.tree)
    assert sequences([[1]], encoder.text.tree).ids.shape[1] == 1 + len(encoder.text.tree)
