"""A picture with a rotation tag as the picture that the tag asks for, without the tag."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 98, "subsampling": 0, "optimize": True},
    "PNG": {},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 98, "subsampling": "4:4:4"},
}
_ORIENTATION, _UPRIGHT = 0x0112, (0, 1)
"""The EXIF tag, and what it says of a picture that is not turned."""
_FURTHEST = 3.0
"""Mean difference of a colour, of 255, that encoding anew may make."""


class NotTurnedError(Exception):
    """A picture cannot be turned; the message says why in a few words."""


def upright(content: bytes) -> bytes:
    """The file of the turned picture, in the same format: PNG and WebP without loss, JPEG at quality 98.

    Colour profile and EXIF stay, the rotation tag goes. The result was decoded again and compared. Raises
    NotTurnedError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of very large pictures; musubi-tuner reads them
            return _upright(content)
    except NotTurnedError:
        raise
    except Exception as problem:  # Pillow's decoders raise SyntaxError, ValueError, struct.error and more
        raise NotTurnedError(str(problem).splitlines()[0] if str(problem) else type(problem).__name__) from problem


def _upright(content: bytes) -> bytes:
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as picture:
        # Phones write a second, small picture into a JPEG; the first is the one that trains.
        form = "JPEG" if picture.format == "MPO" else picture.format or ""
        if form not in _OPTIONS:
            raise NotTurnedError(f"a {form or 'picture'} cannot be turned here")
        if picture.format != "MPO" and getattr(picture, "is_animated", False):
            raise NotTurnedError("it is animated")
        if picture.getexif().get(_ORIENTATION, 1) in _UPRIGHT:
            raise NotTurnedError("it is upright already")
        turned = ImageOps.exif_transpose(picture)
    exif = turned.getexif()
    out = io.BytesIO()
    profile = {"icc_profile": turned.info["icc_profile"]} if turned.info.get("icc_profile") else {}
    turned.save(out, form, exif=exif, **profile, **_OPTIONS[form])
    with Image.open(io.BytesIO(out.getvalue())) as again:
        again.load()
        if again.size != turned.size or _difference(again, turned) > _FURTHEST:
            raise NotTurnedError("it did not come out as it went in")
        if again.getexif().get(_ORIENTATION, 1) not in _UPRIGHT:
            raise NotTurnedError("its tag stayed")
    return out.getvalue()


def _difference(one: Image.Image, other: Image.Image) -> float:
    from PIL import ImageChops, ImageStat

    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return max(ImageStat.Stat(difference).mean)
