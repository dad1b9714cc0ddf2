"""Dual encoders of transformers give what transformers gives."""

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from toy_huggingface import clip_folder, huggingface_model
from toy_open_clip import CLOSE, SENTENCES

from polyprompt.errors import TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.towers.clip import PLAIN, Savings
from polyprompt.towers.words import Words, openai_words
from polyprompt.zoo.huggingface import from_huggingface, preprocess_of
from polyprompt.zoo.load import open_encoder


def byte_words(end: int, pad: int) -> Words:
    return Words(lambda text: [3 + byte for byte in text.encode()], start=(), end=(end,), pad=pad, vocabulary=260)


@pytest.mark.parametrize("kind", ["clip", "clip, old end", "clip, gelu", "siglip", "siglip2"])
def test_transformers_models(kind):
    model = huggingface_model(kind)
    words = openai_words() if kind.startswith("clip") else byte_words(end=1, pad=1)
    encoder = from_huggingface(model, words, Preprocess(32, (0.5,) * 3, (0.5,) * 3), kind)
    pixels = torch.randn(2, 3, 32, 32)
    rows = [[*words.start, *words.encode(text), *words.end] for text in SENTENCES]
    pad = 49407 if kind.startswith("clip") else 1
    length = encoder.text.length
    ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows])
    inputs = {"pixel_values": pixels}
    if kind == "siglip2":
        patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(2, 16, -1)
        shapes = torch.tensor([[4, 4]] * 2)
        inputs = {"pixel_values": patches, "pixel_attention_mask": torch.ones(2, 16), "spatial_shapes": shapes}
    with torch.no_grad():
        images, texts = model.get_image_features(**inputs), model.get_text_features(ids)
        torch.testing.assert_close(encoder.encode_image(pixels, normalize=False), images.pooler_output, **CLOSE)
        for savings in (Savings(), PLAIN):
            encoder.saving(savings)
            torch.testing.assert_close(encoder.encode_text(SENTENCES, normalize=False), texts.pooler_output, **CLOSE)
    torch.testing.assert_close(encoder.logit_scale, model.logit_scale.detach().reshape(()))


def test_a_clip_folder_with_tokenizer_and_image_processor(tmp_path):
    model = clip_folder(tmp_path)
    encoder = open_encoder(str(tmp_path))
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        texts = model.get_text_features(**batch).pooler_output
    torch.testing.assert_close(encoder.encode_text(SENTENCES, normalize=False), texts, **CLOSE)
    assert encoder.text.words(SENTENCES[2]) == openai_words().encode(SENTENCES[2])


CONFIGS = {kind: huggingface_model(kind).config for kind in ("clip", "siglip")}
PROCESSORS = {
    "clip": (hf.CLIPImageProcessor, hf.models.clip.image_processing_pil_clip.CLIPImageProcessorPil),
    "siglip": (hf.SiglipImageProcessor, hf.models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil),
}


@given(
    kind=st.sampled_from(sorted(PROCESSORS)),
    backend=st.integers(0, 1),
    width_height=st.tuples(st.integers(8, 120), st.integers(8, 120)),
    short=st.integers(32, 43),
    resample=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=150, deadline=None)
def test_transformers_pixels_at_every_size(kind, backend, width_height, short, resample):
    """Of pictures of noise, where a cut that is half a pixel off changes everything; both of its ways to resize."""
    sides = {"size": {"shortest_edge": short}, "crop_size": {"height": 32, "width": 32}}
    sizes = sides if kind == "clip" else {"size": {"height": short, "width": short}}
    processor = PROCESSORS[kind][backend](**sizes, resample=resample)
    noise = np.random.default_rng(sum(width_height)).integers(0, 256, (*width_height, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    theirs = torch.as_tensor(np.asarray(processor(picture)["pixel_values"][0])).float()
    ours = preprocess_of(processor, CONFIGS[kind])(picture)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("resample", [4, 5])
def test_a_way_to_resize_that_transformers_cannot_use_itself(resample):
    """Box and Hamming have no tensors to work on."""
    make, make_pil = PROCESSORS["clip"]
    sides = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "resample": resample}
    with pytest.raises(TowerError, match=f"resample is {resample}, which is not read here"):
        preprocess_of(make(**sides), CONFIGS["clip"])
    assert preprocess_of(make_pil(**sides), CONFIGS["clip"]).rules == "transformers-pil"
