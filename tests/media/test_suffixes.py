"""The one list of names that pictures and videos go by, against what can be opened."""

from io import BytesIO

import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from polyprompt.media.pictures import FORMATS, open_picture
from polyprompt.media.suffixes import IMAGES, SEEN, VIDEOS

Image.init()
register_heif_opener()
FORMAT_OF = Image.registered_extensions()


@pytest.mark.parametrize("suffix", sorted(IMAGES))
def test_what_pillow_writes_under_a_suffix_can_be_opened(suffix):
    file = BytesIO()
    Image.new("RGB" if suffix not in (".pgm", ".pbm") else "1", (4, 4)).save(file, FORMAT_OF[suffix])
    assert open_picture(file.getvalue()).size == (4, 4)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_a_suffix(form):
    assert IMAGES & {suffix for suffix, own in FORMAT_OF.items() if own == form}


def test_pictures_and_videos_are_apart_and_written_small():
    assert SEEN == IMAGES | VIDEOS
    assert not IMAGES & VIDEOS
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SEEN)
