"""Which marks on a picture make up one character: not a frame, a thumb, holes, specks."""

from itertools import pairwise

import numpy as np
from scipy import ndimage
from scipy.sparse.csgraph import connected_components
from skimage.morphology import isotropic_dilation, isotropic_erosion, skeletonize

from handwriting.beside import beside, box_of
from handwriting.pictures import InkError
from handwriting.surface import area_of, hull_of, quadrilateral
from nbhelpers.shapes import INK, REFUSALS

MOST_PARTS = INK["most_parts"]  # of one character, dots and broken strokes included
MOST_HOLES = 20  # in one character; a loop or two, and pinholes; noise has hundreds
OUTLINE = 0.36  # doubt whether lines are the outline of strokes
MANY_PARTS = 100  # of a page's characters
Placed = tuple[np.ndarray, np.ndarray, np.ndarray]  # a crop, its box, its pixels; see `separate`
EIGHT = np.ones((3, 3), bool)  # pixels that touch at a corner belong together, too


def refused(why: str, count: str = "") -> InkError:
    """Return the error that says why a picture shows no character."""
    return InkError(f"{count}{REFUSALS[why]} {REFUSALS['expected']}")


def bounds(mask: np.ndarray) -> np.ndarray:
    """Return left, top, right, bottom of a mask bool `[h, w]`."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def cut(ink: np.ndarray) -> np.ndarray:
    """Return ink uint8 `[h, w]` without the rows and columns that are empty, or nearly so."""
    left, top, right, bottom = bounds(ink > 64)
    return ink[top:bottom, left:right]


def rim(values: np.ndarray) -> np.ndarray:
    """Return the outermost values of an array `[h, w]`."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def character(mask: np.ndarray, many: bool = False) -> tuple[np.ndarray, float, float]:
    """Keep the parts of a mask bool `[h, w]` that make up one character, or `many`.

    Returns:
        The parts, bool `[h, w]`; the width of the pen in pixels; and how doubtful the choice is,
        from 0 to 1.

    Raises:
        InkError: no part looks like a character.
    """
    parts, count = ndimage.label(mask, EIGHT)
    if not count:
        raise refused("unclear")
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    boxes = ndimage.find_objects(parts)
    areas[_surroundings(parts, areas, boxes, many)] = 0
    areas[_outside_frame(parts, areas, boxes)] = 0
    if not areas.any():
        raise refused("unclear")
    others, guess = (areas == 0, 0.0) if many else beside(parts, areas, boxes)
    areas[others] = 0
    main = int(areas.argmax())
    depth = ndimage.distance_transform_edt(np.pad(parts[boxes[main - 1]] == main, 1))
    pen = 2 * float(np.median(depth[skeletonize(depth > 0)]))
    if not many:
        areas[_underlines(areas, boxes, pen, mask.shape)] = 0
    everything = areas.sum()
    areas[_dirt(areas, boxes, pen)] = 0
    kept, count = areas[parts] > 0, np.count_nonzero(areas)
    if count > (MANY_PARTS if many else MOST_PARTS):
        raise refused("marks", f"{count} ")
    if areas.sum() < 0.6 * everything:
        raise refused("unclear")
    around = bounds(kept)
    longer = max(around[2:] - around[:2])
    if 2 * depth.max() > 0.85 * longer or rim(kept).mean() > 0.45 or _is_plate(kept):
        raise refused("filled")
    left, top, right, bottom = around
    whole = _sides(kept) > 2 and (right - left) * (bottom - top) > 0.6 * kept.size  # cut around it
    outlined = 0.0 if many else _outlined(kept[top:bottom, left:right], pen)
    doubt = max(
        outlined,
        guess,
        0.9 * _framed(parts, areas, boxes, pen),
        2 * (1 - areas.sum() / everything) + 0.08 * max(0, count - 3) * (not many),
        0.1 * rim(kept).any() + 0.5 * (rim(kept).sum() > 3 * pen and not whole),
        0.3 * (2 * depth.max() > 2.6 * pen),  # rather what is between strokes
    )
    # The other doubts were of its thin lines, before they were filled.
    return kept, pen, OUTLINE if outlined == OUTLINE else min(1.0, doubt)


def _outlined(crop: np.ndarray, pen: float) -> float:
    """Fill the strokes of a character bool `[h, w]` of which only the outline is drawn, in place.

    Returns the doubt. Raises an InkError if it has too many holes to be a character.
    """
    holes, count = ndimage.label(~np.pad(crop, 1))
    if count > MOST_HOLES + 1:
        raise refused("unclear")
    areas = np.bincount(holes.ravel())
    areas[[0, holes[0, 0]]] = 0
    if areas.sum() < crop.sum():
        return 0.0
    widest = ndimage.maximum(ndimage.distance_transform_edt(holes), holes, range(len(areas)))
    share = (areas.sum() + crop.sum()) / max(1.0, area_of(hull_of(crop)))  # of a 0, nearly 1
    long = areas > (3 if share < 0.85 else 4.5) * np.pi * np.square(widest)  # strokes, no loops
    inside = long[holes[1:-1, 1:-1]]
    away = ndimage.distance_transform_edt(~inside)[crop]
    if inside.sum() > 0.7 * areas.sum() and np.quantile(away, 0.9) < 1.6 * pen:
        crop |= inside
        return OUTLINE
    # A ring that touches what is in it.
    return 0.5 * (count > 2 and share > 0.92)


def _dirt(areas: np.ndarray, boxes: list[tuple[slice, slice]], pen: float) -> np.ndarray:
    """Return the parts that are smaller than a dot, or small and far from the largest part."""
    main = int(areas.argmax())
    # A dot is about as large as the pen is wide, and stands near its letter.
    dirt = areas < max(2, 0.4 * pen * pen, 0.002 * areas[main])
    box = box_of(boxes[main - 1])
    for part in np.flatnonzero(~dirt & (areas < 0.08 * areas[main])):
        other = box_of(boxes[part - 1])
        away = max(*(other[:2] - box[2:]), *(box[:2] - other[2:]))
        beside = max(other[1] - box[3], box[1] - other[3])
        dirt[part] = max(away, 2 * beside) > 0.8 * max(box[2:] - box[:2])
    return dirt


def _underlines(
    areas: np.ndarray, boxes: list[tuple[slice, slice]], pen: float, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the flat lines below all else that is large, wider than that, that end in sight."""
    kept = np.flatnonzero(areas)
    top, left, bottom, right = np.array([box_of(boxes[part - 1]) for part in kept]).T
    wide = right - left
    flat = (bottom - top < 0.25 * wide) & (areas[kept] < 2.6 * pen * wide)  # two that touch, too
    if flat.all():
        return kept[:0]
    large = areas[kept] > 0.3 * areas[kept[~flat]].max()  # no specks
    others = large & ~flat
    flat &= wide > 1.2 * (right[others].max() - left[others].min())
    flat &= (left > 0) & (right < shape[1]) & (bottom < shape[0])
    return kept[flat & (top > bottom[large & ~flat].max() - pen)]


def several(crop: np.ndarray) -> tuple[int, float]:
    """Return how many digits ink uint8 `[h, w]` surely shows, and the doubt whether it is one."""
    boxes = [box_of(box) for box in ndimage.find_objects(ndimage.label(crop > 64, EIGHT)[0])]
    high, wide = crop.shape
    tall = sorted((b for b in boxes if b[2] - b[0] > 0.45 * high), key=lambda box: box[1])
    gaps = [after[1] - before[3] for before, after in pairwise(tall)]
    if max(gaps, default=0) > 0.12 * high:
        return len(tall), 1.0
    halves = sorted((b for b in boxes if b[2] - b[0] > 0.3 * high), key=lambda box: box[0])
    steps = [after[0] - before[2] for before, after in pairwise(halves)]
    if max(steps, default=0) > 0.08 * high:
        return len(halves), 1.0
    beside, below = max(gaps, default=-1), max(steps, default=-1)  # without a tall part, a face
    return 1, 0.6 * (beside > 0 or below >= 0 or wide > 1.25 * high or not tall)


def separate(ink: np.ndarray) -> list[Placed]:
    """Return every character of ink uint8 `[h, w]`, row by row, from left to right.

    Of each the crop, uint8; the box, left, top, right, bottom; and whether each pixel is its,
    bool `[h, w]`.
    """
    parts, _ = ndimage.label(ink > 64, EIGHT)
    joined = _joined(np.array([box_of(one) for one in ndimage.find_objects(parts)]))
    characters = []
    for one in range(joined.max() + 1):
        mine = np.pad(joined == one, (1, 0))[parts]
        characters.append((cut(ink * mine), bounds(mine), mine))
    usual = float(np.median([max(crop.shape) for crop, _, _ in characters]))
    return _in_order([one for one in characters if max(one[0].shape) > 0.4 * usual], usual)


def _joined(boxes: np.ndarray) -> np.ndarray:
    """Return which character each part belongs to, int `[n]`; boxes as of `box_of`, `[n, 4]`."""
    sides = boxes[:, 2:] - boxes[:, :2]
    sizes = sides.max(1)
    usual = np.median(sizes[sizes > 0.5 * sizes.max()])
    low, high = boxes[:, :2], boxes[:, 2:]
    gaps = np.maximum(low[:, None], low) - np.minimum(high[:, None], high)
    away = gaps.max(2) + np.diag(np.full(len(boxes), np.inf))
    # Dots and bits of a stroke belong to what is next to them.
    near = (away < 0.35 * usual) & (sizes < 0.45 * usual)[:, None]
    near &= away == away.min(1, keepdims=True)
    # So do halves one above the other that make no more than one character together.
    tall = np.maximum.outer(high[:, 0], high[:, 0]) - np.minimum.outer(low[:, 0], low[:, 0])
    narrower = np.minimum.outer(sides[:, 1], sides[:, 1])
    over = (gaps[:, :, 1] < -0.3 * narrower) & (gaps[:, :, 0] < 0.15 * usual)
    near |= over & (tall < 1.3 * usual)
    return connected_components(near, directed=False)[1]


def _in_order(characters: list[Placed], usual: float) -> list[Placed]:
    """Return characters of a `usual` size row by row; a row may climb or fall."""
    rows: list[list[Placed]] = []
    for one in sorted(characters, key=lambda placed: placed[1][0]):
        middle = (one[1][1] + one[1][3]) / 2
        steps = [abs(middle - (row[-1][1][1] + row[-1][1][3]) / 2) for row in rows]
        if steps and min(steps) < 0.6 * usual:
            rows[int(np.argmin(steps))].append(one)
        else:
            rows.append([one])
    rows.sort(key=lambda row: np.mean([placed[1][1] + placed[1][3] for placed in row]))
    return [one for row in rows for one in row]


def _sides(mask: np.ndarray) -> int:
    """Return how many sides of the picture a mask touches."""
    return sum(bool(edge.any()) for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def _is_plate(kept: np.ndarray) -> bool:
    """Return whether a sheet was taken for ink: four straight sides, and mostly filled."""
    left, top, right, bottom = bounds(kept)
    if kept.sum() < 0.3 * (right - left) * (bottom - top):
        return False  # of thin strokes; quickly told
    hull = hull_of(kept)
    area = max(1.0, area_of(hull))
    sides = np.ptp(hull, axis=0) if len(hull) else np.ones(2)
    if kept.sum() < 0.62 * area or sides.min() < 0.4 * sides.max():
        return False
    return area_of(quadrilateral(hull)) > 0.9 * area


def _surroundings(
    parts: np.ndarray, areas: np.ndarray, boxes: list[tuple[slice, slice]], many: bool
) -> np.ndarray:
    """Return the parts along the edge (a table, a thumb, holes) if a character stands free."""
    edges = (parts[0], parts[-1], parts[:, 0], parts[:, -1])
    touching = np.max([np.bincount(side, minlength=len(areas)) / len(side) for side in edges], 0)
    corners, shape = np.pad([box_of(box) for box in boxes], ((1, 0), (0, 0))), np.array(parts.shape)
    low, high = corners[:, :2], corners[:, 2:]
    sizes, narrow = (high - low).max(1), (high - low).min(1)
    near = ((high <= 0.08 * shape) | (low >= 0.92 * shape)).any(1) & (not many)
    sliver = near & (narrow < 0.06 * max(shape)) & (sizes > 4 * narrow)  # of a desk, perhaps
    strip = sliver & (narrow < min(0.025 * max(shape), 7))  # of a dark border
    small = (touching == 0) & (sizes > 0.025 * max(shape)) & ~sliver
    free = small & (sizes > 0.15 * max(shape))
    if not free.any():
        return np.flatnonzero(sliver & (small.any() or sliver.sum() > 1))
    longest = sizes[free].max()
    along = (touching > 0.4) & (areas < 50 * areas[free].max())
    if _sides(parts) < 3:  # else the picture was cut around the character
        along |= (touching > 0) & ((sizes < 2 * longest) | (narrow < 0.04 * max(shape)))
    away = np.maximum(low - high[free].max(0), low[free].min(0) - high)
    along |= (strip | (near & (touching > 0))) & (away.max(1) > 0.25 * longest)
    side = (high[:, 1] <= 0.16 * shape[1]) | (low[:, 1] >= 0.84 * shape[1])  # of a punched hole
    hole = _discs(areas, corners) & side & (sizes < 0.12 * max(shape)) & (not many)
    along |= hole & (away[:, 1] > 0.25 * longest)  # beside the character; no dot above it
    return np.flatnonzero(along | _holes(parts.shape, areas, corners))


def _holes(shape: tuple[int, ...], areas: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return which parts, bool `[n]`, stand in a row along an edge: many alike, or two discs."""
    found = np.zeros(len(areas), bool)
    middles, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    sizes = sides.max(1)
    small = (sizes > 0) & (sizes < 0.12 * max(shape))
    # A dot that a pen makes may be a disc, but not two alike, far apart.
    round_ = _discs(areas, corners)
    for axis in (0, 1):  # rows, columns
        near = np.minimum(middles[:, axis], shape[axis] - middles[:, axis]) < 0.15 * shape[axis]
        for part in np.flatnonzero(small & near):
            row = small & (np.abs(middles[:, axis] - middles[part, axis]) < 0.5 * sizes[part])
            row &= (sizes > 0.6 * sizes[part]) & (sizes < 1.6 * sizes[part])
            discs = row & round_ & (np.abs(middles - middles[part]).max(1) > 2.5 * sizes[part])
            if row.sum() >= 5 or (round_[part] and discs.any()):
                found |= row
    return found


def _discs(areas: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return which parts are filled discs, bool `[n]`."""
    sides = corners[:, 2:] - corners[:, :2]
    sizes = sides.max(1)
    filled = np.abs(areas / (0.785 * sizes**2 + 1) - 0.95) < 0.2
    return filled & (sides.min(1) > 0.75 * sizes)


def _outside_frame(
    parts: np.ndarray, areas: np.ndarray, boxes: list[tuple[slice, slice]]
) -> np.ndarray:
    """Return the frames that have something in them, and all that is in none: else nothing.

    A frame is a drawn box, or a ring around something as large as a character.
    """
    within, frames = np.zeros_like(areas), []
    for outer in np.argsort(-areas)[:MOST_PARTS] if len(boxes) > 1 else ():
        place = parts[boxes[outer - 1]] if areas[outer] else np.zeros((1, 1), int)
        if max(place.shape) < 0.1 * max(parts.shape) or areas[outer] > 0.45 * place.size:
            continue
        mask = place == outer
        inside = ndimage.binary_fill_holes(mask) & ~mask
        there = np.bincount(place[inside], minlength=len(areas))
        gap = not there[1:].any() and (place[~mask] > 0).any()
        if gap:  # the ends of its line may not meet
            inside = _shut(mask, 0.11 * max(place.shape)) & ~mask
            there = np.bincount(place[inside], minlength=len(areas))
        if there[1:].max() < 0.005 * inside.sum() or areas[outer] > 0.8 * inside.sum():
            continue
        hull = hull_of(mask)
        area = max(1.0, area_of(hull))
        held = max(side.stop - side.start for k in np.flatnonzero(there[1:]) for side in boxes[k])
        large = held > 0.3 * max(place.shape)
        if areas[outer] > min(0.3 * place.size, 0.4 * inside.sum()) and not large:
            continue  # a loop of a thick pen, and a speck
        ring = large and (inside | mask).sum() > 0.92 * area
        if ring or ((large or not gap) and area_of(quadrilateral(hull)) > 0.88 * area):
            frames.append(outer)
            within += there
    within[[0, *frames]] = 0
    return np.flatnonzero(within < areas) if within.any() else np.zeros(0, int)


def _shut(mask: np.ndarray, reach: float) -> np.ndarray:
    """Return a mask bool `[h, w]` and all that is in it, as if gaps of twice `reach` were none."""
    margin = int(reach) + 2
    wide = isotropic_dilation(np.pad(mask, margin), reach)
    whole = isotropic_erosion(ndimage.binary_fill_holes(wide), reach)
    return whole[margin:-margin, margin:-margin]


def _framed(
    parts: np.ndarray, areas: np.ndarray, boxes: list[tuple[slice, slice]], pen: float
) -> bool:
    """Return whether a kept part is a frame: it goes around another, or is long and very thin."""
    kept, main = np.flatnonzero(areas), int(areas.argmax())
    corners = {part: box_of(boxes[part - 1]) for part in kept}
    longer = {part: max(box[2:] - box[:2]) for part, box in corners.items()}
    for outer, box in corners.items():
        if longer[outer] > 0.8 * longer[main] and areas[outer] < 0.45 * pen * longer[outer]:
            return True
        inner = [
            part
            for part, other in corners.items()
            if (other[:2] > box[:2]).all() and (other[2:] < box[2:]).all()
            if longer[part] > 0.25 * longer[outer]
        ]
        if inner:
            inside = ndimage.binary_fill_holes(parts[boxes[outer - 1]] == outer)
            if any(inside[parts[boxes[outer - 1]] == part].all() for part in inner):
                return True
    return False
