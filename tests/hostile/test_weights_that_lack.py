"""Files of weights that hold some of a model's tensors, or others: never completed at random, as libraries do."""

import pickle

import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from toy_decoders import toy_decoder

from polyprompt.errors import TowerError
from polyprompt.towers.llm import open_llm
from polyprompt.towers.timm import open_image_tower
from polyprompt.towers.words import openai_words
from polyprompt.zoo.load import open_encoder

OPENERS = {"decoder": open_llm, "clip": open_encoder, "timm": open_image_tower}


def save_clip(folder):
    both = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = both | {"vocab_size": 260, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 0}
    image = both | {"image_size": 32, "patch_size": 8}
    hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=image, projection_dim=16)).save_pretrained(folder)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


def save_towers(place, toy_tokenizer):
    """A folder of each kind that transformers and timm write."""
    torch.manual_seed(0)
    toy_decoder("llama").save_pretrained(place / "decoder")
    save_clip(place / "clip")
    for name in ("decoder", "clip"):
        toy_tokenizer.save_pretrained(place / name)
    save_for_hf(timm.create_model("test_efficientnet"), place / "timm", safe_serialization=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, toy_tokenizer):
    place = tmp_path_factory.mktemp("towers")
    save_towers(place, toy_tokenizer)
    return place


@pytest.fixture(params=OPENERS)
def tower(folders, request):
    """A folder that opens, its tensors, and what opens it."""
    file = folders / request.param / "model.safetensors"
    tensors = load_file(file)
    OPENERS[request.param](str(file.parent))
    yield file, tensors, OPENERS[request.param]
    save_file(tensors, file, metadata={"format": "pt"})


def refused(tower, tensors) -> str:
    file, _, opens = tower
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(TowerError) as error:
        opens(str(file.parent))
    assert "\n" not in str(error.value)
    return str(error.value)


def own(name: str) -> bool:
    """Whether a tensor is the tower's, and not a classifier's or a counter."""
    return not name.startswith(("classifier.", "lm_head.")) and not name.endswith("num_batches_tracked")


def test_one_tensor_is_missing(tower):
    names = [name for name in sorted(tower[1]) if own(name)]
    for name in (names[0], names[len(names) // 2], names[-1]):
        message = refused(tower, {other: tensor for other, tensor in tower[1].items() if other != name})
        assert "its weights lack " in message
        assert name.split(".", 1)[-1].removeprefix("model.") in message


def test_half_of_them_and_none(tower):
    assert "more; have the whole file" in refused(tower, {name: tower[1][name] for name in sorted(tower[1])[::2]})
    refused(tower, {})
    refused(tower, {f"x.{name}": tensor for name, tensor in tower[1].items()})


def test_one_of_another_shape(tower):
    name = next(name for name in sorted(tower[1]) if own(name) and tower[1][name].ndim > 1)
    refused(tower, tower[1] | {name: tower[1][name].flatten()[:7].clone()})


@pytest.mark.outside("pickle")  # its own
def test_an_encoder_can_be_pickled(folders):
    encoder = open_encoder(str(folders / "clip"))
    again = pickle.loads(pickle.dumps(encoder))
    assert torch.equal(again.encode_text(["a cat"]), encoder.encode_text(["a cat"]))
    assert again.fingerprint == encoder.fingerprint


@pytest.mark.parametrize("text", ["cat<end_of_text>dog", "<start_of_text>cat", "<END_OF_TEXT>", "<|endoftext|>"])
def test_control_tokens_in_a_text_are_text(text):
    words = openai_words()
    ids = words.encode(text)
    assert not {*words.start, *words.end} & set(ids)
    assert words.decode(ids).replace(" ", "") == text.lower()


def test_other_texts_have_open_clips_ids():
    from open_clip.tokenizer import SimpleTokenizer

    for text in ("a photo of a cat.", "It's café #1!", "<end of text> <|x|>", "naïve 日本語 😀"):
        assert openai_words().encode(text) == SimpleTokenizer().encode(text)
