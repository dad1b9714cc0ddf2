"""A processor that makes other pixels than `Preprocess` is refused, whichever of its settings it is."""

import json
import time

import pytest
import transformers as hf
from toy_huggingface import clip_folder, huggingface_model
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.dpt.image_processing_dpt import DPTImageProcessor

from polyprompt.errors import TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.zoo.huggingface import preprocess_of
from polyprompt.zoo.load import open_encoder
from polyprompt.zoo.same_pixels import check_same_pixels

CONFIGS = {kind: huggingface_model(kind).config for kind in ("clip", "siglip", "siglip2")}
SHORT = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
SQUARE = {"size": {"height": 32, "width": 32}}


REFUSED = {
    r"DPTImageProcessor makes 46x32 pixels of a picture of 53x37; .* not read: .*keep_aspect_ratio True": (
        DPTImageProcessor(**SQUARE, keep_aspect_ratio=True)
    ),
    "do_flip_channel_order is True, which is not read here; false": hf.MobileViTImageProcessor(**SHORT),
    "size is .*'longest_edge': 360.*; shortest_edge alone, or height and width": (
        hf.CLIPImageProcessor(size={"shortest_edge": 36, "longest_edge": 360}, crop_size={"height": 32, "width": 32})
    ),
    "size is .*'max_height': 32.*; height and width, which are equal": (
        hf.SiglipImageProcessor(size={"max_height": 32, "max_width": 32})
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_followed_is_refused_by_name(message):
    with pytest.raises(TowerError, match=message) as caught:
        preprocess_of(REFUSED[message], CONFIGS["clip"])
    assert "\n" not in str(caught.value)


class Brighter(CLIPImageProcessorPil):
    """Does what none of its settings says."""

    def rescale(self, image, scale, **others):
        return super().rescale(image, scale, **others) * 1.5


def test_a_class_that_computes_otherwise():
    with pytest.raises(TowerError, match=r"Brighter makes other pixels than are made here of its settings \(by up to"):
        preprocess_of(Brighter(**SHORT), CONFIGS["clip"])


def test_a_class_that_fails_on_pictures():
    processor = hf.CLIPImageProcessor(**SHORT)
    processor.crop_size = None
    with pytest.raises(TowerError, match="CLIPImageProcessor fails on a picture"):
        check_same_pixels(processor, Preprocess(32, (0.5,) * 3, (0.5,) * 3), "")


@pytest.mark.parametrize("size", [64, 16])
def test_patches_in_a_row_are_put_together(size):
    """NaFlex at the size its positions were trained for, enlarged and made smaller."""
    config = huggingface_model("siglip2").config
    config.vision_config.num_patches = (size // 8) ** 2
    preprocess = preprocess_of(hf.Siglip2ImageProcessor(patch_size=8), config)
    assert (preprocess.size, preprocess.resize) == (size, "squash")


def test_other_patches_than_the_tower_has():
    with pytest.raises(TowerError, match=r"Siglip2ImageProcessor (fails|makes)"):
        preprocess_of(hf.Siglip2ImageProcessor(patch_size=16), CONFIGS["siglip2"])


def test_a_folder_whose_processor_flips_colours(tmp_path):
    clip_folder(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    said = json.loads(path.read_text()) | {
        "image_processor_type": "MobileViTImageProcessor",
        "do_flip_channel_order": True,
    }
    path.write_text(json.dumps(said))
    with pytest.raises(TowerError, match="do_flip_channel_order is True"):
        open_encoder(str(tmp_path))


def test_it_takes_no_time():
    processor = hf.CLIPImageProcessor()
    preprocess_of(processor, CONFIGS["clip"])
    start = time.process_time()
    preprocess_of(processor, CONFIGS["clip"])
    assert time.process_time() - start < 0.1
