"""Open whatever people bring (files, bytes, pictures, arrays) as an upright picture in colour."""

import contextlib
import io
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, features

Picture = Path | str | bytes | Image.Image | np.ndarray

MOST_PIXELS = 50_000_000  # of a picture; phones take up to that many
TOO_MANY = f"more than {MOST_PIXELS // 1_000_000} million. Make it smaller first."
FEWEST_PIXELS = 8  # a side
MOST_BYTES = 200_000_000  # of a file
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
if features.check("avif"):
    FORMATS += ("AVIF",)
with contextlib.suppress(ImportError):  # what iPhones write, where a decoder is installed
    import pillow_heif

    pillow_heif.register_heif_opener()
    FORMATS += ("HEIF",)
LARGE = 1600  # longest side, in pixels, of what is kept of a larger picture


class InkError(ValueError):
    """A picture cannot be read, or no character is in it."""


def opened(picture: Picture) -> tuple[Image.Image, str]:
    """Return a picture upright, mode RGB, at most `LARGE` pixels a side, and what to call it."""
    name = getattr(picture, "filename", "") or "the picture"
    if isinstance(picture, Path | str):
        name = str(picture)
    torch = sys.modules.get("torch")  # to import it takes seconds; who has a tensor has done so
    if torch and isinstance(picture, torch.Tensor):
        # NumPy has no bfloat16.
        picture = (picture.float() if picture.is_floating_point() else picture).numpy(force=True)
    if isinstance(picture, np.ndarray):
        picture = _from_array(picture, name)
    elif not isinstance(picture, Image.Image):
        picture = from_bytes(_read(picture, name), name)
    _check_size(*picture.size, name)
    try:
        with warnings.catch_warnings(action="ignore"):  # on details of a damaged file
            if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                picture = ImageOps.exif_transpose(picture)
            picture.load()
        if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
            picture = _from_array(np.asarray(picture), name)
        return _rgb(picture), name
    except (InkError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise what they stumble over, of any kind
        raise InkError(f"{name}: a damaged picture ({error}). Save or send it again.") from None


def from_bytes(content: bytes, name: str) -> Image.Image:
    """Return the picture that a file holds, without decoding it yet; `name` is for errors.

    Raises:
        InkError: it is no picture of one of `FORMATS`, several, or one too large or too small.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # on details of a damaged file
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
            if picture.format in ("JPEG", "MPO"):  # decode a large photo at half its size or less
                picture.draft(None, [max(1, s * LARGE // max(picture.size)) for s in picture.size])
            frames = getattr(picture, "n_frames", 1)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InkError(f"{name}: {TOO_MANY}") from None
    except Exception:  # of any kind, as Pillow's decoders do
        raise InkError(f"{name}: {_what_it_is(content)}") from None
    _check_size(*picture.size, name)
    if frames > 1 and picture.format != "MPO":  # which is a phone's JPEG with a preview
        raise InkError(f"{name}: holds {frames} pictures or pages. Save one of them as a PNG.")
    return picture


def within(picture: Image.Image, longest: int) -> Image.Image:
    """Shrink the picture until its longer side is at most `longest` pixels."""
    if max(picture.size) <= longest:
        return picture
    scale = longest / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _read(picture: Path | str | bytes, name: str) -> bytes:
    if isinstance(picture, bytes | bytearray | memoryview):
        content = bytes(picture)
    elif not isinstance(picture, Path | str):
        said = f"{name}: a {type(picture).__name__}."
        raise InkError(f"{said} Expected a path, bytes, a PIL picture or an array.")
    else:
        path = Path(picture)
        if path.is_dir():
            raise InkError(f"{name}: a folder. Expected the path of one picture.")
        try:
            with path.open("rb") as file:  # a pipe or a device has no size
                content = file.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise InkError(f"{name}: more than {MOST_BYTES:,} bytes, which are not read.")
        except FileNotFoundError:
            raise InkError(f"{name}: no such file. Check the path.") from None
        except OSError as error:
            raise InkError(f"{name}: cannot be read ({error.strerror}).") from None
    if not content:
        raise InkError(f"{name}: empty, 0 bytes. Save or send the picture again.")
    return content


def _what_it_is(content: bytes) -> str:
    """Say what the bytes are, if not a picture that can be read, and what to do."""
    start = content[:1024].lstrip()
    if start.startswith(b"%PDF"):
        return "a PDF. Export the page as a PNG."
    if b"<svg" in start.lower():
        return "an SVG, a drawing in text. Export it as a PNG."
    if content[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1") and "HEIF" not in FORMATS:
        return "a HEIC photo. Export it as a JPEG, or run: pip install pillow-heif"
    if content[4:8] == b"ftyp":
        return "a damaged HEIC or AVIF photo, or a film. Export it as a JPEG."
    return f"not a picture, or a damaged one. Expected {', '.join(FORMATS)}."


def _check_size(width: int, height: int, name: str) -> None:
    size = f"{width} × {height} pixels"
    if width * height > MOST_PIXELS:
        raise InkError(f"{name}: {size}, {TOO_MANY}")
    if min(width, height) < FEWEST_PIXELS:
        raise InkError(f"{name}: {size}. Expected at least {FEWEST_PIXELS} a side.")


def _from_array(values: np.ndarray, name: str) -> Image.Image:
    """Return the picture of an array, mode L, RGB or RGBA."""
    shape = " × ".join(map(str, values.shape))
    if values.ndim == 3 and len(values) in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
        values = np.moveaxis(values, 0, 2)  # PyTorch has the colours first
    if values.shape[2:] == (1,):
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,), (4,)):
        expected = "height × width, or with 3 or 4 colours as a third axis"
        raise InkError(f"{name}: an array of shape {shape}. Expected {expected}.")
    _check_size(values.shape[1], values.shape[0], name)
    if values.dtype.kind not in "buif":
        said = f"{name}: an array of {values.dtype}."
        raise InkError(f"{said} Expected uint8, uint16, float or bool.")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and low >= -0.2 and 1 < high <= 1.2:  # as enlarging leaves them
        values, low, high = values.clip(0, 1), 0.0, 1.0
    if values.dtype != np.uint8 or high <= 16:
        if not (low >= 0 and high <= 65_535):  # nor if it is no number
            said = f"{name}: an array with values from {low:g} to {high:g}."
            raise InkError(f"{said} Expected 0 to 1, 0 to 255 or 0 to 65,535, without NaN.")
        # Masks are 0 and 1, scikit-learn's digits 0 to 16; cameras put 10 or 12 bits into 16.
        full = next(limit for limit in (1, 16, 255, 1023, 4095, 65_535) if high <= limit)
        values = (values.astype(np.float32) * (255 / full)).round().astype(np.uint8)
    return Image.fromarray(values)


def _rgb(picture: Image.Image) -> Image.Image:
    """Return the picture in mode RGB, at most `LARGE` pixels a side."""
    transparent = "A" in picture.getbands() or "transparency" in picture.info
    if "A" in picture.getbands() and not picture.getchannel("A").getextrema()[1]:
        transparent = False  # programs that know no transparency leave 0 everywhere
    picture = within(picture.convert("RGBA" if transparent else "RGB"), LARGE)
    if not transparent:
        return picture
    colour = np.asarray(picture, np.float32)
    colour, cover = colour[:, :, :3], colour[:, :, 3:] / 255
    visible = colour[cover[:, :, 0] > 0.5]
    if len(visible) > 0.5 * cover.size:
        paper = np.median(visible, 0)  # a sheet with transparent corners
    else:
        paper = np.full(3, 0 if len(visible) and visible.mean() > 160 else 255)
    return Image.fromarray((colour * cover + paper * (1 - cover)).round().astype(np.uint8))
