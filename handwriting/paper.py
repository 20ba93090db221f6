"""Find the character on a picture: take the paper away, and ruled lines, and specks."""

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import skeletonize
from skimage.transform import hough_line, hough_line_peaks

from handwriting.pictures import InkError, Picture, opened, within
from nbhelpers.shapes import INK, REFUSALS

WORKING = INK["working"]  # longest side while the ink is looked for, in pixels
NEAR = INK["near"]  # a character with a smaller longer side is looked at from closer
COARSE = INK["coarse"]  # longest side while the paper is estimated
MOST_PARTS = INK["most_parts"]  # of one character, dots and broken strokes included
LEAST_CONTRAST = INK["least_contrast"]  # between ink and paper, of 255
LEAST_CLEARNESS = INK["least_clearness"]  # contrast, in standard deviations of the paper's noise
EIGHT = np.ones((3, 3), bool)  # pixels that touch at a corner belong together, too


def found(picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole picture as ink on paper, and the character cut out of it.

    Both are uint8 `[h, w]`, 0 is paper and 255 is ink; the first at most `WORKING` pixels a side.

    Raises:
        InkError: the picture cannot be read, is too large or too small, or shows no character.
    """
    colour, name = opened(picture)
    try:
        whole, box = _ink_of(within(colour, WORKING))
    except InkError as error:
        raise InkError(f"{name}: {error}") from None
    scale = max(colour.size) / max(whole.shape)
    longer = max(box[2:] - box[:2])
    if scale < 1.3 or longer >= NEAR:
        return whole, cut(whole)
    # A small character in a large picture: look at it once more, from closer.
    box = (box + 0.25 * longer * np.array([-1, -1, 1, 1])) * scale
    near = colour.crop(np.clip(box, 0, [*colour.size] * 2).round().astype(int).tolist())
    try:
        closer, _ = _ink_of(within(near, WORKING))
    except InkError:
        closer = whole  # what was seen from afar will do
    return whole, cut(closer)


def cut(ink: np.ndarray) -> np.ndarray:
    """Return ink uint8 `[h, w]` without the rows and columns that are empty, or nearly so."""
    left, top, right, bottom = _bounds(ink > 64)
    return ink[top:bottom, left:right]


def _bounds(mask: np.ndarray) -> np.ndarray:
    """Return left, top, right, bottom."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _refused(why: str, count: str = "") -> InkError:
    return InkError(f"{count}{REFUSALS[why]} {REFUSALS['expected']}")


def _ink_of(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Find the ink; return uint8 `[h, w]` and the box (left, top, right, bottom) around it."""
    strength = _strength(np.asarray(picture, np.float32), _paper(picture))
    noise = _noise(strength)
    if noise > 1:
        strength = ndimage.gaussian_filter(strength, 0.7)
        noise = _noise(strength)
    mask, pen = _character(_mask(strength, noise))
    level = float(np.median(strength[mask]))
    if _rim(mask).any() and pen > 0.2 * max(np.ptp(axis) + 1 for axis in np.nonzero(mask)):
        steepest = np.percentile(np.hypot(*np.gradient(strength))[mask], 99)
        if steepest * pen < 6 * level:
            raise _refused("shadow")
    near = ndimage.maximum_filter(mask, 1 + 2 * max(1, round(min(3, pen / 3))))
    low = min(2.5 * noise, 0.3 * level)
    ink = np.clip((strength - low) * (255 / (level - low)), 0, 255) * near
    return ink.round().astype(np.uint8), _bounds(mask)


def _rim(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _noise(strength: np.ndarray) -> float:
    """Return the standard deviation of the paper, from the median: ink does not count."""
    sampled = strength[::2, ::2]
    return 1.4826 * float(np.median(np.abs(sampled - np.median(sampled))))


def _paper(picture: Image.Image) -> np.ndarray:
    """Estimate the paper behind the ink: float32 `[3, h, w]`.

    Light falls off smoothly, so the paper is a quadratic surface that most pixels lie on, and
    what is left of it (a shadow) is averaged over those pixels.
    """
    small = within(picture, COARSE)
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
    return np.abs(change).max(0)


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


def _mask(strength: np.ndarray, noise: float) -> np.ndarray:
    """Divide ink from paper and from ruled lines; return bool `[h, w]`."""
    ruled = _ruled_lines(strength, noise)
    free = strength.ravel() if ruled is None else strength[~ruled]
    few = min(30, 1 + free.size // 200)  # the smallest character that counts
    top = float(np.partition(free, -few)[-few]) if free.size else 0.0
    if top < LEAST_CONTRAST:
        raise _refused("empty")
    threshold = max(threshold_otsu(np.clip(free[::3], 0, top)), 3 * noise)
    inside = free[free > threshold]
    level = float(np.median(inside)) if inside.size else 0.0
    if level < max(LEAST_CLEARNESS * noise, LEAST_CONTRAST):
        raise _refused("unclear")
    mask = strength > max(3 * noise, 0.45 * level)
    return mask if ruled is None else _across(mask, ruled, strength, level)


def _ruled_lines(strength: np.ndarray, noise: float) -> np.ndarray | None:
    """Find lines that run through the whole picture: bool `[h, w]`, or None without any."""
    top = float(np.percentile(strength[::2, ::2], 99.8))
    faint = strength > max(3 * noise, 0.12 * top, 4)
    edge = max(2, round(0.01 * max(faint.shape)))
    sides = (faint[:edge], faint[-edge:], faint[:, :edge], faint[:, -edge:])
    reached = [side.any() for side in sides]
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
        lines = hough_line(half, theta=angles)
        nearest = {"min_distance": 3, "min_angle": 5, "threshold": 0.55 * length}
        for _, angle, offset in zip(*hough_line_peaks(*lines, **nearest), strict=True):
            cosine, sine = np.cos(angle), np.sin(angle)
            away = np.abs(columns * cosine + rows * sine - offset)
            along = (rows if angles[0] < 1 else columns)[away < 1.6]
            covered = np.bincount(along * 20 // length, minlength=20)[:20] > 0
            beside = np.count_nonzero((away > 4) & (away < 6)) / (4 * length)
            if covered[0] and covered[-1] and covered.sum() >= 16 and beside < 0.35:
                ruled |= np.abs(grid[1] * cosine + grid[0] * sine - offset) < 2.1
    if not ruled.any():
        return None
    odd = [(0, side % 2) for side in faint.shape]
    return np.pad(ruled.repeat(2, 0).repeat(2, 1), odd, "edge")


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


def _character(mask: np.ndarray) -> tuple[np.ndarray, float]:
    """Keep the parts that make up one character; return them and the width of the pen in pixels."""
    parts, count = ndimage.label(mask, EIGHT)
    if not count:
        raise _refused("unclear")
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
        raise _refused("marks", f"{np.count_nonzero(areas)} ")
    if areas.sum() < 0.6 * everything:
        raise _refused("unclear")
    bounds = _bounds(kept)
    longer = max(bounds[2:] - bounds[:2])
    if 2 * depth.max() > 0.85 * longer or _rim(kept).mean() > 0.45:
        raise _refused("filled")
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
