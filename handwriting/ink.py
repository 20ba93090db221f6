"""Turn a picture of one character into what the models were trained on.

Whatever the picture is (a photo of lined paper, a drawing with a transparent background, a scan),
the same steps are taken: estimate the paper and take it away, find the ink, drop ruled lines and
specks, cut the character out, bring its pen to the width known from training, scale and place it
as the training images were. Notebooks 04 and 05 show what happens without it.
"""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import skeletonize
from skimage.transform import hough_line, hough_line_peaks

from nbhelpers.data import place_by_centre_of_mass, resized
from nbhelpers.tamil import archive

Picture = Path | str | bytes | Image.Image | np.ndarray

MOST_PIXELS = 50_000_000  # of a picture; phones take up to that many
FEWEST_PIXELS = 8  # a side
MOST_BYTES = 200_000_000  # of a file
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
EXPECTED = "Expected one character, in ink on paper."
UNCLEAR = "nothing is drawn on it that stands out like ink."
HALF = 110  # what counts as ink, of 255, on the edge of a stroke
EIGHT = np.ones((3, 3), bool)  # pixels that touch at a corner belong together, too
MOST_PARTS = 12  # of one character, dots and broken strokes included
LARGE = 1600  # longest side, in pixels, of what is kept of a larger picture
WORKING = 256  # longest side while the ink is looked for
NEAR = 100  # a character with a smaller longer side is looked at from closer
COARSE = 48  # longest side while the paper is estimated
FINE = 160  # longest side of a character while its pen is measured and redrawn

LEAST_CONTRAST = 14  # between ink and paper, of 255
LEAST_CLEARNESS = 6  # contrast, in standard deviations of the paper's noise

# Widths of the pen as a share of the character's longer side. MNIST: the 5th and the 95th
# percentile over training images. HPL Tamil: the pen is 2.2 pixels wide whatever the letter, and
# the letter's longer side, without its margin of 4 pixels, 59 to 209 (5 % to 95 %), median 125.
MNIST_PEN = (0.085, 0.19)
MNIST_THIN, MNIST_THICK = 0.1, 0.15  # what other pens are brought to
TAMIL_PEN = 2.2
TAMIL_LONGER = 125
TAMIL_MARGIN = 4


class InkError(ValueError):
    """A picture cannot be read, or no character is in it."""


@dataclass(frozen=True)
class Steps:
    """What was done to a picture, step by step; uint8, 0 is paper and 255 is ink.

    Attributes:
        ink: `[height, width]`, the whole picture as ink on paper, at most `WORKING` pixels a side.
        crop: `[h, w]`, only the character, as it was found.
        normalised: `[side, side]`, what a model gets.
        pen: width of the pen that was found, as a share of the character's longer side.
    """

    ink: torch.Tensor
    crop: torch.Tensor
    normalised: torch.Tensor
    pen: float


def to_mnist(picture: Picture) -> Steps:
    """Bring a picture of one digit to MNIST's form: 28×28.

    The digit is scaled to fit a box of 20×20 with its proportions kept, and placed by its centre
    of mass. A pen thinner or thicker than those of most MNIST digits is brought to a usual width.

    Args:
        picture: a file's path or its bytes, an open PIL picture, or an array `[h, w]`,
            `[h, w, 3]` or `[h, w, 4]` of uint8, uint16, float (0 to 1 or 0 to 255) or bool.

    Raises:
        InkError: the picture cannot be read, is too large or too small, or shows no character.
    """
    ink, crop = _found(picture)
    fine, pen = _measured(crop)
    thin, thick = MNIST_PEN
    if pen > thick:
        drawn = _thinner(fine, pen, MNIST_THICK)
    else:
        drawn = _thicker(fine, pen, MNIST_THIN) if pen < thin else crop
    scale = 20 / max(drawn.shape)
    size = tuple(max(1, round(side * scale)) for side in drawn.shape[::-1])
    small = np.asarray(Image.fromarray(drawn).resize(size, Image.Resampling.BOX), np.float32)
    small = np.minimum(small * (255 / small.max()), 255).round().astype(np.uint8)
    normalised = place_by_centre_of_mass(torch.from_numpy(small)[None], 28)[0]
    return Steps(torch.from_numpy(ink), torch.from_numpy(crop), normalised, pen)


def to_tamil(picture: Picture, side: int = 64, proportions: str = "adapted") -> Steps:
    """Bring a picture of one Tamil letter to the form of `tamil.tamil`: `[side, side]`.

    The letter is redrawn with the pen of HPL's originals, then takes the importer's way: scaled
    to fit the square, centred, its strokes made equally wide and dark.

    Args:
        picture: as for `to_mnist`.
        side: of the square, in pixels.
        proportions: of the letter, `kept` or `adapted`; see `tamil.fitted`.

    Raises:
        InkError: the picture cannot be read, is too large or too small, or shows no character.
        ValueError: `proportions` is neither.
    """

    ink, crop = _found(picture)
    fine, pen = _measured(crop)
    wanted = TAMIL_PEN / TAMIL_LONGER
    near = wanted / 1.5 < pen < 1.5 * wanted
    drawn = crop if near else _redrawn(fine, pen, wanted)
    margin = round(max(drawn.shape) * TAMIL_MARGIN / TAMIL_LONGER)
    original = Image.fromarray(np.pad(drawn, margin))
    normalised = torch.from_numpy(archive.placed(original, side, proportions))
    return Steps(torch.from_numpy(ink), torch.from_numpy(crop), normalised, pen)


def to_form(picture: Picture, form: str, side: int, proportions: str = "adapted") -> Steps:
    """Bring a picture to the form that a model's card names: `to_mnist` or `to_tamil`.

    Args:
        picture: as for `to_mnist`.
        form: `mnist` or `tamil`.
        side: of the model's images, in pixels. The forms are 28×28 and 64×64; they are resized to
            other sides, as the images are that models learn from.
        proportions: as for `to_tamil`; MNIST's form always keeps them.

    Raises:
        InkError: as for `to_mnist`.
        ValueError: `form` or `proportions` is unknown.
    """
    if form not in ("mnist", "tamil"):
        raise ValueError(f"form is {form!r}. Expected 'mnist' or 'tamil'.")
    steps = to_mnist(picture) if form == "mnist" else to_tamil(picture, proportions=proportions)
    return replace(steps, normalised=resized(steps.normalised[None], (side, side))[0])


# ------------------------------------------------------------------------------------ the pen


def _measured(crop: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the character with longer side `FINE`, uint8 `[h, w]`, and the width of its pen.

    The width is a share of the longer side.
    """
    scale = FINE / max(crop.shape)
    size = tuple(max(1, round(side * scale)) for side in crop.shape[::-1])
    fine = np.pad(np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BICUBIC)), 1)
    mask = fine > HALF
    depth = ndimage.distance_transform_edt(mask)
    return fine, float(2 * np.median(depth[skeletonize(mask)])) / FINE


def _thinner(fine: np.ndarray, pen: float, wanted: float) -> np.ndarray:
    """Return the character with its strokes peeled off on both sides, uint8 `[h, w]`, cropped."""
    mask = fine > HALF
    depth = ndimage.distance_transform_edt(mask)
    drawn = np.clip(depth - FINE * (pen - wanted) / 2 + 0.5, 0, 1)
    if _parts(drawn > 0.5) != _parts(mask):
        return _redrawn(fine, pen, wanted)  # peeling would break or lose a stroke
    return _cut((drawn * 255).astype(np.uint8))


def _parts(mask: np.ndarray) -> int:
    return ndimage.label(mask, EIGHT)[1]


def _thicker(fine: np.ndarray, pen: float, wanted: float) -> np.ndarray:
    """Return the character with ink added around its strokes, uint8 `[h, w]`, cropped."""
    more = FINE * (wanted - pen) / 2
    away = ndimage.distance_transform_edt(~np.pad(fine > HALF, math.ceil(more) + 1))
    return _cut((np.clip(more + 0.5 - away, 0, 1) * 255).astype(np.uint8))


def _redrawn(fine: np.ndarray, pen: float, wanted: float) -> np.ndarray:
    """Return the character drawn along the middle of its strokes, uint8 `[h, w]`, cropped."""
    # Where a thick pen or a blurred photo has nearly closed a loop, its inside is still a little
    # lighter than what is around it.
    around = ndimage.gaussian_filter(fine.astype(np.float32), 0.6 * FINE * pen)
    mask = (fine > HALF) & (fine >= around - 0.1)
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), max(0.5, FINE * pen / 16)) > 0.5
    middle = skeletonize(smooth | skeletonize(mask))
    radius = FINE * wanted / 2
    away = ndimage.distance_transform_edt(~np.pad(middle, math.ceil(radius) + 1))
    return _cut((np.clip(radius + 0.5 - away, 0, 1) * 255).astype(np.uint8))


def _cut(ink: np.ndarray) -> np.ndarray:
    rows, columns = (np.flatnonzero((ink > 64).any(axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


# ------------------------------------------------------------------------------------ the ink


def _found(picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole picture as ink on paper, and the character cut out of it."""
    name = _name(picture)
    colour = _opened(picture, name)
    whole, box = _ink_of(_within(colour, WORKING), name)
    scale = max(colour.size) / max(whole.shape)
    if scale < 1.3 or max(box[2] - box[0], box[3] - box[1]) >= NEAR:
        return whole, _cut(whole)
    # A small character in a large picture: look at it once more, from closer.
    left, top, right, bottom = (edge * scale for edge in box)
    room = 0.25 * max(right - left, bottom - top)
    near = colour.crop(
        (
            round(max(left - room, 0)),
            round(max(top - room, 0)),
            round(min(right + room, colour.width)),
            round(min(bottom + room, colour.height)),
        )
    )
    try:
        closer, _ = _ink_of(_within(near, WORKING), name)
    except InkError:
        closer = whole  # what was seen from afar will do
    return whole, _cut(closer)


def _ink_of(picture: Image.Image, name: str) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Find the ink; return uint8 `[h, w]` and the box (left, top, right, bottom) around it."""
    strength = _strength(np.asarray(picture, np.float32), _paper(picture))
    noise = _noise(strength)
    if noise > 1:
        strength = ndimage.gaussian_filter(strength, 0.7)
        noise = _noise(strength)
    mask, level = _mask(strength, noise, name)
    mask, pen = _character(mask, name)
    level = float(np.median(strength[mask]))
    rim = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
    if rim and pen > 0.2 * max(np.ptp(axis) + 1 for axis in np.nonzero(mask)):
        steepest = np.percentile(np.hypot(*np.gradient(strength))[mask], 99)
        if steepest * pen < 6 * level:
            raise InkError(f"{name}: a shadow without clear edges. {EXPECTED}")
    near = ndimage.maximum_filter(mask, 1 + 2 * max(1, round(min(3, pen / 3))))
    low = min(2.5 * noise, 0.3 * level)
    ink = np.clip((strength - low) * (255 / (level - low)), 0, 255) * near
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return ink.round().astype(np.uint8), box


def _noise(strength: np.ndarray) -> float:
    """Return the standard deviation of the paper, from the median: ink does not count."""
    sampled = strength[::2, ::2]
    return 1.4826 * float(np.median(np.abs(sampled - np.median(sampled))))


def _paper(picture: Image.Image) -> np.ndarray:
    """Estimate the paper behind the ink: float32 `[3, h, w]`.

    Light falls off smoothly, so the paper is a quadratic surface that most pixels lie on, and
    what is left of it (a shadow) is averaged over those pixels.
    """
    small = _within(picture, COARSE)
    width, height = small.size
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].reshape(2, -1)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    colour = np.asarray(small, np.float64).reshape(-1, 3).T
    away = _largest(colour - np.median(colour, 1, keepdims=True))
    rim = np.maximum(np.abs(x), np.abs(y)) > 0.85
    # Least squares, with little weight for what lies far from the surface; first along the rim,
    # which is mostly paper. The third that fits best tells the spread: ink may cover nearly half.
    for step in range(8):
        seen = rim if step < 3 else np.ones_like(rim)
        spread = max(1.0, 2.2 * np.quantile(away[seen], 0.35))
        weighted = terms * seen / (1 + (away / (2 * spread)) ** 2)
        fit = np.linalg.solve(weighted @ terms.T + 1e-3 * np.eye(6), weighted @ colour.T)
        left_over = colour - fit.T @ terms
        away = _largest(left_over)
    spread = max(1.0, 2.2 * np.quantile(away, 0.35))
    known = (away < 3 * spread).astype(float).reshape(height, width)
    weight = ndimage.gaussian_filter(known, COARSE / 10) + 0.1
    bands = []
    for surface, rest in zip(fit.T @ terms, left_over, strict=True):
        near = ndimage.gaussian_filter(rest.reshape(known.shape) * known, COARSE / 10) / weight
        band = Image.fromarray((surface.reshape(known.shape) + near).astype(np.float32))
        bands.append(np.asarray(band.resize(picture.size, Image.Resampling.BILINEAR)))
    return np.stack(bands)


def _largest(change: np.ndarray) -> np.ndarray:
    """Return the largest change of the three colours: `[n]` for `[3, n]`."""
    red, green, blue = np.abs(change)
    return np.maximum(np.maximum(red, green), blue)


def _strength(values: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """Return how far each pixel differs from the paper in the direction of the ink's colour."""
    change = (values.transpose(2, 0, 1) - paper).reshape(3, -1)
    size = _largest(change)
    far = change[:, size > max(1.0, 0.5 * np.percentile(size[::5], 99.5))]
    if not far.size:
        return np.zeros(values.shape[:2], np.float32)
    direction = np.linalg.eigh(far @ far.T)[1][:, -1]
    direction *= np.sign((direction @ far).sum()) or 1
    direction = direction.astype(np.float32) / np.float32(3**0.5)  # grey ink: its grey value
    strength = (direction @ change).reshape(values.shape[:2])
    if direction.sum() < 0:  # dark ink takes away a share of the light, which may be uneven
        light = np.tensordot(np.abs(direction), paper, 1)
        usual = np.median(light[::4, ::4])
        strength *= usual / np.maximum(light, 0.2 * usual + 1)
    return strength


def _mask(strength: np.ndarray, noise: float, name: str) -> tuple[np.ndarray, float]:
    """Divide ink from paper and from ruled lines; return bool `[h, w]` and the ink's strength."""
    ruled = _ruled_lines(strength, noise)
    free = strength.ravel() if ruled is None else strength[~ruled]
    few = min(30, 1 + free.size // 200)  # the smallest character that counts
    top = float(np.partition(free, -few)[-few]) if free.size else 0.0
    if top < LEAST_CONTRAST:
        raise InkError(f"{name}: nothing is drawn on it. {EXPECTED}")
    threshold = max(threshold_otsu(np.clip(free[::3], 0, top)), 3 * noise)
    inside = free[free > threshold]
    level = float(np.median(inside)) if inside.size else 0.0
    if level < max(LEAST_CLEARNESS * noise, LEAST_CONTRAST):
        raise InkError(f"{name}: {UNCLEAR} {EXPECTED}")
    mask = strength > max(3 * noise, 0.45 * level)
    return mask if ruled is None else _across(mask, ruled, strength, level), level


def _ruled_lines(strength: np.ndarray, noise: float) -> np.ndarray | None:
    """Find lines that run through the whole picture: bool `[h, w]`, or None without any."""
    top = float(np.percentile(strength[::2, ::2], 99.8))
    faint = strength > max(3 * noise, 0.12 * top, 4)
    edge = max(2, round(0.01 * max(faint.shape)))
    sides = (faint[:edge], faint[-edge:], faint[:, :edge], faint[:, -edge:])
    reached = [bool(side.any()) for side in sides]
    if not (all(reached[:2]) or all(reached[2:])):
        return None
    # At half the resolution, a line may be a little crooked.
    height, width = (side // 2 * 2 for side in faint.shape)
    half = faint[:height, :width].reshape(height // 2, 2, width // 2, 2).any((1, 3))
    near_axis = np.radians(np.arange(-8, 8.1, 0.5))
    ruled = np.zeros_like(half)
    rows, columns = np.nonzero(half)
    grid = np.arange(half.shape[0])[:, None], np.arange(half.shape[1])
    for angles, reaches in ((near_axis, reached[:2]), (near_axis + np.pi / 2, reached[2:])):
        if not all(reaches):
            continue
        length = half.shape[0] if angles is near_axis else half.shape[1]
        votes, angles, offsets = hough_line(half, theta=angles)
        peaks = hough_line_peaks(
            votes, angles, offsets, min_distance=3, min_angle=5, threshold=0.55 * length
        )
        for _, angle, offset in zip(*peaks, strict=True):
            cosine, sine = np.cos(angle), np.sin(angle)
            away = np.abs(columns * cosine + rows * sine - offset)
            along = (rows if angles[0] < 1 else columns)[away < 1.6]
            covered = np.bincount(along * 20 // length, minlength=20)[:20] > 0
            beside = np.count_nonzero((away > 4) & (away < 6)) / (4 * length)
            if covered[0] and covered[-1] and covered.sum() >= 16 and beside < 0.35:
                ruled |= np.abs(grid[1] * cosine + grid[0] * sine - offset) < 2.1
    if not ruled.any():
        return None
    full = np.zeros(strength.shape, bool)
    full[:height, :width] = ruled.repeat(2, 0).repeat(2, 1)
    full[height:], full[:, width:] = full[height - 1 : height], full[:, width - 1 : width]
    return full


def _across(mask: np.ndarray, ruled: np.ndarray, strength: np.ndarray, level: float) -> np.ndarray:
    """Return the mask without the ruled lines, but with the strokes that cross them."""
    clear = mask & ~ruled
    # A line that leaves through a corner was not found; what is left of it lies along the edge.
    parts, _ = ndimage.label(clear, EIGHT)
    thin = 0.04 * max(mask.shape)
    for part, box in enumerate(ndimage.find_objects(parts), 1):
        top, left, bottom, right = _box(box)
        flat = bottom - top < thin and (top < 4 or bottom > mask.shape[0] - 4)
        if flat or (right - left < thin and (left < 4 or right > mask.shape[1] - 4)):
            clear[box][parts[box] == part] = False
    faint = strength[ruled & (strength > 0.1 * level)]
    line = float(np.percentile(faint, 65)) if faint.size else 0.0
    if line < 0.7 * level:  # the ink stands out from the lines, too
        on_lines = mask & ruled & (strength > (line + level) / 2)
    else:
        bridged = ndimage.grey_closing(clear.astype(np.uint8), size=(13, 13)) > 0
        on_lines = mask & ruled & bridged
    # A character does not lie on the lines alone.
    return clear | on_lines if clear.sum() > 0.1 * on_lines.sum() else clear


def _character(mask: np.ndarray, name: str) -> tuple[np.ndarray, float]:
    """Keep the parts that make up one character; return them and the width of the pen in pixels."""
    parts, count = ndimage.label(mask, EIGHT)
    if not count:
        raise InkError(f"{name}: {UNCLEAR} {EXPECTED}")
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    boxes = ndimage.find_objects(parts)
    areas[_surroundings(parts, areas, boxes)] = 0
    main = int(areas.argmax())
    box = _box(boxes[main - 1])
    longer = max(box[2:] - box[:2])
    depth = ndimage.distance_transform_edt(np.pad(parts[boxes[main - 1]] == main, 1))
    pen = 2 * float(np.median(depth[skeletonize(depth > 0)]))
    # A dot is about as large as the pen is wide, and stands near its letter; what is smaller is
    # dirt, and so is what is small and far away.
    everything = areas.sum()
    areas[areas < max(2, 0.4 * pen * pen, 0.002 * areas[main])] = 0
    for part in np.flatnonzero((areas > 0) & (areas < 0.08 * areas[main])):
        other = _box(boxes[part - 1])
        if max(*(other[:2] - box[2:]), *(box[:2] - other[2:])) > 0.8 * longer:
            areas[part] = 0
    kept = areas[parts] > 0
    if np.count_nonzero(areas) > MOST_PARTS:
        raise InkError(
            f"{name}: {np.count_nonzero(areas)} separate marks, so it is noise, a texture or more "
            f"than one character. {EXPECTED}"
        )
    if areas.sum() < 0.6 * everything:
        raise InkError(f"{name}: {UNCLEAR} {EXPECTED}")
    rows, columns = (np.flatnonzero(kept.any(axis)) for axis in (1, 0))
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    rim = np.concatenate([kept[0], kept[-1], kept[:, 0], kept[:, -1]])
    if 2 * depth.max() > 0.85 * longer or rim.mean() > 0.45:
        raise InkError(f"{name}: a filled area without strokes. {EXPECTED}")
    return kept, pen


def _surroundings(
    parts: np.ndarray, areas: np.ndarray, boxes: list[tuple[slice, slice]]
) -> np.ndarray:
    """Return the parts along the edge (a table, a thumb) if a character stands free inside."""
    sides = (parts[0], parts[-1], parts[:, 0], parts[:, -1])
    touching = np.max([np.bincount(side, minlength=len(areas)) / len(side) for side in sides], 0)
    along = np.flatnonzero(touching[1:] > 0.4) + 1
    inside = [
        areas[part]
        for part, box in enumerate(boxes, 1)
        if not touching[part]
        and max(np.ptp(_box(box)[::2]), np.ptp(_box(box)[1::2])) > 0.15 * max(parts.shape)
    ]
    return along[areas[along] < 50 * max(inside, default=0)]


def _box(slices: tuple[slice, slice]) -> np.ndarray:
    """Return top, left, bottom, right."""
    rows, columns = slices
    return np.array([rows.start, columns.start, rows.stop, columns.stop])


# --------------------------------------------------------------------------------- the picture


def _opened(picture: Picture, name: str) -> Image.Image:
    """Return the picture upright, mode RGB, its longest side at most `LARGE` pixels."""
    if isinstance(picture, torch.Tensor):
        picture = picture.numpy(force=True)
    if isinstance(picture, np.ndarray):
        picture = _from_array(picture, name)
    elif not isinstance(picture, Image.Image):
        picture = from_bytes(_read(picture, name), name)
    _check_size(*picture.size, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on details of a damaged file
            if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                picture = ImageOps.exif_transpose(picture)
            picture.load()
        if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
            picture = _from_array(np.asarray(picture), name)
        return _rgb(picture)
    except (InkError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise what they stumble over, of any kind
        raise InkError(f"{name}: a damaged picture ({error}). Save or send it again.") from None


def _read(picture: Path | str | bytes, name: str) -> bytes:
    if isinstance(picture, bytes | bytearray | memoryview):
        content = bytes(picture)
    elif not isinstance(picture, Path | str):
        raise InkError(
            f"{name}: a {type(picture).__name__}. "
            "Expected a path, bytes, a PIL picture or an array."
        )
    else:
        path = Path(picture)
        if path.is_dir():
            raise InkError(f"{name}: a folder. Expected the path of one picture.")
        try:
            size = path.stat().st_size
            content = path.read_bytes() if size <= MOST_BYTES else b""
        except FileNotFoundError:
            raise InkError(f"{name}: no such file. Check the path.") from None
        except OSError as error:
            raise InkError(f"{name}: cannot be read ({error.strerror}).") from None
        if size > MOST_BYTES:
            raise InkError(f"{name}: {size:,} bytes; at most {MOST_BYTES:,} are read.")
    if not content:
        raise InkError(f"{name}: empty, 0 bytes. Save or send the picture again.")
    return content


def from_bytes(content: bytes, name: str) -> Image.Image:
    """Return the picture that a file holds, without decoding it yet.

    Args:
        content: of the file.
        name: what errors call it.

    Raises:
        InkError: it is no picture of one of `FORMATS`, several, or one too large or too small.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on details of a damaged file
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InkError(_too_large(name)) from None
    except Exception:  # of any kind, as Pillow's decoders do
        raise InkError(f"{name}: {_what_it_is(content)}") from None
    _check_size(*picture.size, name)
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # which is a phone's JPEG with a preview
        raise InkError(f"{name}: holds {frames} pictures or pages. Save one of them as a PNG.")
    if picture.format in ("JPEG", "MPO"):
        picture.draft(None, (LARGE, LARGE))  # decode a large photo at half its size or less
    return picture


def _what_it_is(content: bytes) -> str:
    """Say what the bytes are, if not a picture that can be read, and what to do."""
    start = content[:1024].lstrip()
    if start.startswith(b"%PDF"):
        return "a PDF. Export the page as a PNG."
    if b"<svg" in start.lower():
        return "an SVG, a drawing in text. Export it as a PNG."
    if content[4:8] == b"ftyp":
        return "a HEIC or AVIF photo, or a film. Export it as a JPEG."
    return f"not a picture, or a damaged one. Expected {', '.join(FORMATS)}."


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MOST_PIXELS:
        raise InkError(_too_large(name, f"{width} × {height} pixels, "))
    if min(width, height) < FEWEST_PIXELS:
        raise InkError(
            f"{name}: {width} × {height} pixels. Expected at least {FEWEST_PIXELS} a side."
        )


def _too_large(name: str, size: str = "") -> str:
    return f"{name}: {size}more than {MOST_PIXELS // 1_000_000} million. Make it smaller first."


def _from_array(values: np.ndarray, name: str) -> Image.Image:
    """Return the picture of an array, mode L, RGB or RGBA."""
    shape = " × ".join(map(str, values.shape))
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise InkError(
            f"{name}: an array of shape {shape}. "
            "Expected height × width, or with 3 or 4 colours as a third axis."
        )
    _check_size(values.shape[1], values.shape[0], name)
    if values.dtype == bool:
        values = values.astype(np.uint8) * np.uint8(255)
    elif values.dtype.kind not in "uif":
        raise InkError(
            f"{name}: an array of {values.dtype}. Expected uint8, uint16, float or bool."
        )
    elif values.dtype != np.uint8:
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)) or low < 0 or high > 65_535:
            raise InkError(
                f"{name}: an array with values from {low:g} to {high:g}. "
                "Expected 0 to 1, 0 to 255 or 0 to 65,535, without NaN."
            )
        # Cameras and scanners put 10 or 12 bits into 16.
        limits = (
            (1, 255, 1023, 4095, 65_535) if values.dtype.kind == "f" else (255, 1023, 4095, 65_535)
        )
        full = next(limit for limit in limits if high <= limit)
        values = (values.astype(np.float32) * (255 / full)).round().astype(np.uint8)
    return Image.fromarray(values)


def _rgb(picture: Image.Image) -> Image.Image:
    """Return the picture in mode RGB, at most `LARGE` pixels a side."""
    transparent = "A" in picture.getbands() or "transparency" in picture.info
    picture = _within(picture.convert("RGBA" if transparent else "RGB"), LARGE)
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


def _within(picture: Image.Image, longest: int) -> Image.Image:
    """Shrink the picture until its longer side is at most `longest` pixels."""
    if max(picture.size) <= longest:
        return picture
    scale = longest / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _name(picture: Picture) -> str:
    if isinstance(picture, Path | str):
        return str(picture)
    return getattr(picture, "filename", "") or "the picture"
