"""One photo file -> an upright 8-bit RGB picture (Pillow only).

Knows what is odd about files (truncated, CMYK, 16 bits, rotated, transparent, huge); knows no CNN and no data
set.
"""

import importlib
import os
import stat
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image

from vse.data.photo_files import HEIF_PLUGIN, PHOTO_FORMATS
from vse.system.errors import InputError

MAX_PIXELS = 200_000_000  # larger is refused: decoding takes 8 bytes a pixel at the worst, so 1.6 GB here
MAX_SIDE = 65_535  # of a JPEG; longer is refused: resampling holds a table of 32 bytes a pixel of the side
LARGE_PIXELS = 25_000_000  # larger is decoded one at a time, whatever the number of threads
Image.init()
if HEIF_PLUGIN:
    importlib.import_module(HEIF_PLUGIN).register_heif_opener()
FORMATS = tuple(name for name in PHOTO_FORMATS if name in Image.OPEN)  # what this build of Pillow has of them
_END_MARK = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}  # MPO: JPEGs of phones
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_one_large_photo = threading.Lock()
_pillow_limit = threading.Lock()


class BadPhoto(InputError):
    """A file that cannot be read as a photo; `reason` says why, without the path."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def _open(path: Path) -> Image.Image:
    """The photo with its header read. Raises BadPhoto."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise BadPhoto(path, "no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BadPhoto(path, getattr(error, "strerror", None) or _one_line(error)) from None
    if stat.S_ISDIR(status.st_mode):
        raise BadPhoto(path, "a folder, not a photo")
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device would be waited for
        raise BadPhoto(path, "not a file but a pipe, socket or device")
    if status.st_size == 0:
        raise BadPhoto(path, "empty file")
    try:
        with _pillow_limit:  # Pillow's own limit is 89 megapixels; ours is checked below, before any pixel is decoded
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(path, formats=FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except Image.UnidentifiedImageError:
        raise BadPhoto(path, _unidentified(path)) from None
    except PermissionError:
        raise BadPhoto(path, "no permission to read it") from None
    except Exception as error:  # a damaged header can raise anything
        raise BadPhoto(path, f"damaged ({_one_line(error)})") from None
    width, height = image.size
    if min(width, height) < 1 or max(width, height) > MAX_SIDE:
        image.close()
        raise BadPhoto(path, f"{width:,} x {height:,} pixels, a side may have 1 to {MAX_SIDE:,}")
    if width * height > MAX_PIXELS:
        image.close()
        raise BadPhoto(path, f"{width * height:,} pixels, more than the {MAX_PIXELS:,} that are decoded")
    return image


def _unidentified(path: Path) -> str:
    """Why Pillow knows no format of the file: HEIC, which needs a plugin, or anything else."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        return error.strerror or str(error)
    if head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return "HEIC, which Pillow reads with a plugin only: pip install pillow-heif, or convert it to JPEG"
    return "not an image, or of a kind that is not read here"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def upright_rgb(image: Image.Image) -> Image.Image:
    """`image` as 8-bit RGB, upright, its transparency on white, 16 bits scaled to 8."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # a broken EXIF block is no broken photo
        orientation = 1
    if image.mode.startswith("I"):  # 16 bits a pixel; convert("RGB") would clip them at 255
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":  # no agreed range: 0..1, 0..255 or 0..65535, whichever holds it
        values = np.nan_to_num(np.asarray(image), posinf=0, neginf=0)
        scale = next((255 / top for top in (1, 255) if values.max() <= top), 255 / 65535)
        image = Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode != "RGB":
        image = image.convert("RGB")
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
        image.info = {}  # Pillow copies the EXIF block along, which would turn the photo a second time
    return image


def read_photo(path: str | Path, shortest: int | None = None) -> Image.Image:
    """The photo as upright 8-bit RGB. Raises BadPhoto (an InputError of one line) for whatever is no photo.

    `shortest`: a larger photo may come smaller, its short side at least this many pixels. With three times
    the size that it is resampled to afterwards the result is the same to within one grey level, and huge
    JPEGs take a tenth of the time (fewer DCT coefficients are decoded).
    """
    path = Path(path)
    with _open(path) as image:
        try:
            if shortest:
                image.draft(None, (shortest, shortest))
            large = image.width * image.height > LARGE_PIXELS
            with _one_large_photo if large else nullcontext():
                image.load()
                photo = upright_rgb(image)
                factor = min(photo.size) // shortest if shortest else 1
                return photo.reduce(factor) if factor > 1 else photo
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, EOFError, struct.error, ...
            raise BadPhoto(path, f"damaged ({_one_line(error)})") from None


def check_photo(path: str | Path) -> None:
    """None for a photo that can be read, else raises BadPhoto. Decodes only what ends oddly."""
    path = Path(path)
    with _open(path) as image:
        mark = _END_MARK.get(image.format or "")
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        whole = mark is not None and mark in file.read()
    if not whole:
        read_photo(path)


def check_photos(paths: Sequence[Path], names: Sequence[str], done: int = 0, workers: int | None = None) -> None:
    """None if each of paths[done:] passes `check_photo`, else raises the error of `bad_photos`."""

    def reason(path: Path) -> str | None:
        try:
            check_photo(path)
        except BadPhoto as bad:
            return bad.reason

    with ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1)) as pool:
        reasons = dict(zip(names[done:], pool.map(reason, paths[done:]), strict=True))
    bad = {name: why for name, why in reasons.items() if why}
    if bad:
        raise bad_photos(bad, len(names))


def bad_photos(bad: dict[str, str], photos: int) -> InputError:
    """The error of an extraction that met `bad` (name -> reason) among so many photos."""
    name, why = next(iter(bad.items()))
    return InputError(
        f"{len(bad):,} of {photos:,} photos cannot be read, the first is {name} ({why}): "
        "repair them, or leave such photos out with --skip-bad"
    )
