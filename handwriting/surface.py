"""Find what is written on (a sheet, a note, a board, the inside of a frame) and straighten it.

A surface is an even part of a picture with straight sides. What surrounds it (a desk, a page around
a box, a figure's margin) is left out, so that `paper` sees the surface alone.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from handwriting.pictures import within

SMALL = 224  # longest side while surfaces are looked for, in pixels
LARGEST = 1024  # longest side of a straightened surface
SHARE = 0.03, 0.93  # of the picture that a surface covers
INSET = 0.004  # of a side: what is cut off along it, edge or frame


def surfaces(picture: Image.Image) -> Iterator[tuple[Image.Image, np.ndarray]]:
    """Yield the surfaces in a picture, mode RGB, straightened and upright, largest first.

    With each comes what leads from its pixels to the picture's, float64 `[3, 3]`. Only those count
    on which something is drawn and which are not the whole picture.
    """
    small = np.asarray(within(picture, SMALL), np.float32)
    if min(small.shape[:2]) < 2:
        return  # a strip, which has no slopes
    smooth = ndimage.gaussian_filter(small, (0.7, 0.7, 0))
    steep = np.max([np.hypot(*np.gradient(smooth[:, :, band])) for band in range(3)], 0)
    found: list[tuple[float, np.ndarray, np.ndarray]] = []
    for least in (3.0, 7.0, 14.0):  # of faint frames, of texture
        for region in _even(steep < least):
            corners = _corners(region)
            if corners is not None and all(np.abs(corners - o).max() >= 5 for _, o, _ in found):
                found.append((area_of(corners), corners, region))
    found.sort(key=lambda one: -one[0])
    scale = max(picture.size) / max(small.shape)
    for one in found[:4]:
        yield _straightened(picture, *one[1:], small, scale)


def _even(even: np.ndarray) -> list[np.ndarray]:
    """Return the large connected parts of a mask bool `[h, w]`, each as one."""
    parts, count = ndimage.label(even)
    areas = ndimage.sum_labels(even, parts, range(1, count + 1)) if count else np.zeros(0)
    return [parts == part + 1 for part in np.flatnonzero(areas > SHARE[0] * even.size)]


def _corners(region: np.ndarray) -> np.ndarray | None:
    """Return the corners of a surface, float64 `[4, 2]` as x, y, clockwise from the upper left.

    None for what is no surface: not straight all around, the whole picture, or empty.
    """
    whole = ndimage.binary_fill_holes(region)
    hull = hull_of(whole)
    area = area_of(hull)
    if not SHARE[0] * region.size < area < SHARE[1] * region.size:
        return None
    # Something is drawn on it: in its holes, or in bays where a stroke reaches the edge.
    inner = ndimage.binary_erosion(whole, iterations=2)
    if whole.sum() < 0.88 * area or (inner & ~region).sum() < max(6, 0.0008 * area):
        return None
    corners = quadrilateral(hull)
    if area_of(corners) < 0.94 * area:  # a corner or an edge lies out of sight
        if sum(edge.any() for edge in (whole[0], whole[-1], whole[:, 0], whole[:, -1])) > 2:
            return None  # a character that fills the picture
        corners = _rectangle(hull)
    sides = np.hypot(*(np.roll(corners, -1, 0) - corners).T)
    if area_of(corners) > 1.15 * area or sides.max() > 4 * sides.min():
        return None
    return np.roll(corners, -int(corners.sum(1).argmin()), 0)


def hull_of(mask: np.ndarray) -> np.ndarray:
    """Return the corners of the convex hull of a mask bool `[h, w]`, float64 `[n, 2]` as x, y."""
    rows = np.flatnonzero(mask.any(1))
    first, last = mask[rows].argmax(1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(1)
    points = np.stack([np.append(first, last), np.append(rows, rows)], 1).astype(float)
    if not len(points) or np.ptp(points, axis=0).min() < 4:
        return np.zeros((0, 2))
    return points[ConvexHull(points, qhull_options="QJ").vertices]


def quadrilateral(hull: np.ndarray) -> np.ndarray:
    """Return the four of convex points, float64 `[n, 2]`, that cover most of their area."""
    while len(hull) > 4:  # without the one that matters least
        around = np.concatenate([hull[-1:], hull, hull[:1]])
        step = around[1:] - around[:-1]
        least = int(np.abs(_cross(step[:-1], step[1:])).argmin())
        hull = np.concatenate([hull[:least], hull[least + 1 :]])
    return hull


def _rectangle(hull: np.ndarray) -> np.ndarray:
    """Return the corners of the smallest rectangle around convex points `[n, 2]`."""
    best, least = hull, np.inf
    edges = np.roll(hull, -1, 0) - hull
    lengths = np.hypot(*edges.T)
    for along in edges[lengths > 0] / lengths[lengths > 0, None]:  # a point may come twice
        axes = np.stack([along, (-along[1], along[0])])
        low, high = (hull @ axes.T).min(0), (hull @ axes.T).max(0)
        if (area := np.prod(high - low)) < least:
            best, least = np.array([low, (high[0], low[1]), high, (low[0], high[1])]) @ axes, area
    return best


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]


def area_of(corners: np.ndarray) -> float:
    """Return the area of a polygon `[n, 2]`; of one that goes clockwise as seen, y down."""
    return 0.5 * float(_cross(corners, np.roll(corners, -1, 0)).sum()) if len(corners) else 0.0


def _straightened(
    picture: Image.Image, corners: np.ndarray, region: np.ndarray, small: np.ndarray, scale: float
) -> tuple[Image.Image, np.ndarray]:
    """Return the surface alone, and what leads from its pixels to the picture's: `[3, 3]`.

    What is not in its hull becomes like the paper near it.
    """
    sides = np.hypot(*(np.roll(corners, -1, 0) - corners).T) * scale
    size = np.array([max(sides[0], sides[2]), max(sides[1], sides[3])])
    size = np.maximum(16, size * min(1, LARGEST / size.max())).astype(int)
    inner = (corners + 0.5 + (corners.mean(0) - corners) * 2 * INSET) * scale
    onto = np.array([(0, 0), (size[0], 0), size, (0, size[1])], float)
    numbers = perspective(onto, inner)
    how = Image.Transform.PERSPECTIVE, numbers, Image.Resampling.BILINEAR
    straight = picture.transform(tuple(size.tolist()), *how)
    how = Image.Transform.PERSPECTIVE, perspective(onto, inner / scale), Image.Resampling.BILINEAR
    whole = ndimage.binary_fill_holes(region)
    outside = Image.fromarray(~ndimage.binary_dilation(whole, iterations=1))
    mask = outside.convert("L").transform(straight.size, *how)
    if np.asarray(mask).mean() > 1:
        known = region[:, :, None].astype(np.float32)
        blur = (12, 12, 0)
        near = ndimage.gaussian_filter(small * known, blur)
        near /= ndimage.gaussian_filter(known, blur) + 1e-3
        paper = Image.fromarray(near.clip(0, 255).astype(np.uint8))
        straight.paste(paper.transform(straight.size, *how), mask=mask)
    return straight, np.append(numbers, 1).reshape(3, 3)


def perspective(seen: np.ndarray, there: np.ndarray) -> list[float]:
    """Return Pillow's eight numbers that lead from four points `[4, 2]` to four others."""
    rows = []
    for (x, y), (u, v) in zip(seen, there, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    return np.linalg.solve(np.array(rows), there.ravel()).tolist()
