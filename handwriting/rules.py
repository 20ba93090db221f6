"""The ruled lines of a sheet: find them, and take them away."""

import numpy as np
from scipy import ndimage
from skimage.transform import hough_line, hough_line_peaks

from handwriting.beside import box_of
from handwriting.parts import EIGHT


def ruled_lines(strength: np.ndarray, noise: float) -> np.ndarray | None:
    """Find lines that run through the whole picture: bool `[h, w]`, or None without any."""
    top = float(np.percentile(strength[::2, ::2], 99.8))
    faint = strength > max(3 * noise, 0.12 * top, 4)
    edge = max(2, round(0.01 * max(faint.shape)))
    sides = (faint[:edge], faint[-edge:], faint[:, :edge], faint[:, -edge:])
    reached = [side.any() for side in sides]
    # In a smaller picture a line cannot be told from a stroke that spans it.
    if max(faint.shape) < 150 or not (all(reached[:2]) or all(reached[2:])):
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


def across(mask: np.ndarray, ruled: np.ndarray, strength: np.ndarray, level: float) -> np.ndarray:
    """Return the mask without the ruled lines, but with the strokes that cross them."""
    clear = mask & ~ruled
    # A line that leaves through a corner was not found; what is left of it lies along the edge.
    parts, _ = ndimage.label(clear, EIGHT)
    thin = 0.04 * max(mask.shape)
    for part, box in enumerate(ndimage.find_objects(parts), 1):
        top, left, bottom, right = box_of(box)
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
