"""Pictures as they come in requests: data URIs, and nothing that would have to be fetched or opened by a name."""

import base64
import binascii
import re

from PIL.Image import Image

from polyprompt.errors import ImageError
from polyprompt.media.pictures import open_picture
from polyprompt.media.video import is_video
from polyprompt.serve.errors import Refused

PIXELS = 50_000_000
"""Of a picture that is sent."""
URI = re.compile(r"data:image/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.ASCII)


def bytes_of(uri: str, param: str) -> bytes:
    """The bytes of a data URI.

    Raises:
        Refused: it is none: an address is never fetched, and a path never opened.
    """
    head = URI.match(uri[:200])
    if head is None:
        raise Refused(
            400, f"{param}: give a picture as data:image/jpeg;base64,...; nothing is fetched or opened", param
        )
    try:
        data = base64.b64decode(uri[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, f"{param}: what follows base64, is no base64", param) from None
    if not data:
        raise Refused(400, f"{param}: the picture has no bytes", param)
    return data


def opened(data: bytes, param: str) -> Image:
    """A picture from its bytes; its size is looked at before it is decoded.

    Raises:
        Refused: it cannot be read, is too large, or is a video.
    """
    try:
        if is_video(data):
            raise ImageError("picture", "is a video; send one of its frames")
        return open_picture(data, PIXELS)
    except ImageError as error:
        raise Refused(400, f"{param}: {error.why}", param, "invalid_image") from None
