"""What stands beside a character and is no part of it: print, a stamp, brackets, a scribble.

All take the parts of a mask as `ndimage.label` numbers them, int `[h, w]`, their areas, and their
boxes as `ndimage.find_objects` gives them. A part whose area is 0 is left out already.
"""

import numpy as np
from scipy import ndimage

Boxes = list[tuple[slice, slice]]


def box_of(slices: tuple[slice, slice]) -> np.ndarray:
    """Return top, left, bottom, right."""
    rows, columns = slices
    return np.array([rows.start, columns.start, rows.stop, columns.stop])


def beside(parts: np.ndarray, areas: np.ndarray, boxes: Boxes) -> tuple[np.ndarray, float]:
    """Return all that is to be left out, int `[n]`, and the doubt about it, from 0 to 1."""
    areas, doubt = areas.copy(), 0.0
    for find, guess in ((_scribbles, 0.35), (_brackets, 0.2), (_print, 0.35), (_far, 0.2)):
        found = find(parts, areas, boxes)
        areas[found] = 0
        doubt = max(doubt, guess * bool(found.size))
    return np.flatnonzero(areas == 0), doubt


def _corners(areas: np.ndarray, boxes: Boxes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the parts that are left, int `[n]`, and their corners, int `[n, 2]` as y, x."""
    kept = np.flatnonzero(areas)
    corners = np.array([box_of(boxes[part - 1]) for part in kept])
    return kept, corners[:, :2], corners[:, 2:]


def _scribbles(parts: np.ndarray, areas: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Return what was crossed out, dense and full of holes or thick, beside open strokes."""
    kept, low, high = _corners(areas, boxes)
    sides = high - low
    sizes, dense = sides.max(1), areas[kept] / sides.prod(1)
    large = sizes > 0.5 * sizes.max()
    full = large & (dense > 0.45) & (sides.min(1) > 0.45 * sizes)
    plain = large & ~full & (sides[:, 0] > 0.5 * sizes.max())  # no underline
    if not plain.any() or not full.any() or dense[plain].max() > 0.7 * dense[full].min():
        return kept[:0]

    def depth(part: int) -> float:
        mask = np.pad(parts[boxes[part - 1]] == part, 1)
        return float(ndimage.distance_transform_edt(mask).max())

    def holes(part: int) -> int:
        return ndimage.label(np.pad(parts[boxes[part - 1]] != part, 1, constant_values=True))[1] - 1

    pen = max(map(depth, kept[plain]))
    return kept[full & [holes(part) > 3 or depth(part) > 1.8 * pen for part in kept]]


def _brackets(parts: np.ndarray, areas: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Return the two thin strokes, open to each other, between which all the rest stands."""
    kept, low, high = _corners(areas * (areas >= 0.08 * areas.max()), boxes)
    first, last = ends = [low[:, 1].argmin(), high[:, 1].argmax()]
    inner = np.delete(np.arange(len(kept)), ends)
    if not inner.size or first == last:
        return kept[:0]
    middles, tall = (low + high)[:, 1] / 2, (high - low)[:, 0]
    between = middles[first] < low[inner, 1].min() and high[inner, 1].max() < middles[last]
    higher = tall[ends].min() >= max(
        0.7 * tall[ends].max(), high[inner, 0].max() - low[inner, 0].min()
    )
    both = between and higher and _bracket(parts[boxes[kept[first] - 1]] == kept[first])
    both = both and _bracket((parts[boxes[kept[last] - 1]] == kept[last])[:, ::-1])
    return kept[ends] if both else kept[:0]


def _bracket(mask: np.ndarray) -> bool:
    """Return whether a mask bool `[h, w]` is a thin stroke, open to the right."""
    high, wide = mask.shape
    if high < 10:
        return False
    crossed = np.count_nonzero(np.diff(mask, axis=1, prepend=False), 1)  # 2 where once, or 1
    middles = (mask * np.arange(wide)).sum(1) / np.maximum(1, mask.sum(1))
    fifth = max(1, high // 5)
    ends = min(middles[:fifth].mean(), middles[-fifth:].mean())
    open_ = ends - middles[2 * fifth : high - 2 * fifth].mean() > 0.05 * high
    thin = wide < 0.6 * high and mask.sum() < 0.2 * high * high
    return bool(open_ and thin and np.mean(crossed > 2) < 0.1)


def _print(parts: np.ndarray, areas: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Return the lines of print, six at least, around a part that is much larger."""
    kept, low, high = _corners(areas, boxes)
    (tall, wide), main = (high - low).T, areas[kept].argmax()
    longest = max(tall[main], wide[main])
    away = np.maximum(low - high[main], low[main] - high).max(1)
    lines = (tall < 0.35 * longest) & (away > 0.3 * longest)
    lines &= areas[kept] < 0.4 * areas[kept][main]
    flat = np.count_nonzero(wide[lines] > 1.5 * tall[lines])
    plain = tall[main] > 0.5 * wide[main] and longest > 0.1 * max(parts.shape)
    return kept[lines] if plain and flat > max(5, 0.5 * lines.sum()) else kept[:0]


def _far(parts: np.ndarray, areas: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Return what is far from the longest part, and no character beside it: print, a stamp."""
    kept, low, high = _corners(areas, boxes)
    (tall, wide), sizes = (high - low).T, (high - low).max(1)
    main, longest = sizes.argmax(), sizes.max()
    away = np.maximum(low - high[main], low[main] - high).max(1)
    filled = (areas[kept] > 0.5 * tall * wide) & (wide > 0.5 * tall)
    smaller = (sizes < 0.5 * longest) | (filled & (sizes < 0.8 * longest))
    marks = areas[kept] >= 0.08 * areas[kept][main]  # no specks
    far = kept[(away > 0.8 * longest) & smaller & marks]
    words = len(far) > 2 and areas[far].sum() > areas[kept][main]  # or dust
    rows = (low + high)[marks][(low + high)[marks, 1].argsort(), 0]  # from left to right
    three = len(rows) == 3 and rows[1] < min(rows[0], rows[2])  # ஃ is one letter
    return far[:0] if words or three else far
