"""Trace the pen strokes of the 156 Tamil characters: writes `tamil_strokes.json`.

A development script. Nothing in the course runs it; its result is committed. It needs
scikit-image (`pip install scikit-image`), Pillow with libraqm, and fonts that have Tamil, such as
Lohit Tamil (Debian's `fonts-lohit-taml`) and Noto Sans Tamil, both SIL Open Font License:

    python data/trace_strokes.py Lohit-Tamil.ttf --ligature NotoSansTamil-Regular.ttf

Each character is drawn large and thinned to a skeleton one pixel wide. The skeleton is cut at its
junctions, and the pieces are joined to strokes as a pen would go: straight on, where it can.
No outline of the font is kept: only where its middle lines run.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage.measure import approximate_polygon, label, regionprops
from skimage.morphology import skeletonize

HERE = Path(__file__).resolve().parent
EM = 500  # font size in pixels while tracing
MARGIN = 300  # pixels around the origin of a character
BOX = 1000  # coordinates of the result are 0 to BOX
SHARPEST = np.radians(70)  # a pen that turns more than this at a junction begins a new stroke
TOLERANCE = 1.2  # of the simplified line, in units of the result
LIGATURE = "121"
EIGHT = np.ones((3, 3), int)
ABOUT = (
    "Middle lines of the 156 characters of data/tamil_classes.csv in their order, made by "
    "data/trace_strokes.py. x goes right from the left edge of the ink, y goes down, the same "
    "scale for all; a stroke of one point is a dot."
)


def draw(text: str, font_file: Path) -> np.ndarray:
    """Return the character as bool `[height, width]`, True for ink; its origin is at MARGIN."""
    # A vowel sign alone is shaped with a dotted circle to hold it; unshaped, it comes alone.
    layout = ImageFont.Layout.BASIC if len(text) == 1 else ImageFont.Layout.RAQM
    font = ImageFont.truetype(font_file, EM, layout_engine=layout)
    picture = Image.new("L", (MARGIN + 3 * EM, MARGIN + 2 * EM))
    language = "ta" if layout == ImageFont.Layout.RAQM else None
    place = (MARGIN, MARGIN + EM)
    ImageDraw.Draw(picture).text(place, text, 255, font, anchor="ls", language=language)
    return np.asarray(picture) > 127


def trace(ink: np.ndarray) -> list[np.ndarray]:
    """Return strokes as float `[points, 2]` of x, y in pixels."""
    depth = ndimage.distance_transform_edt(ink)
    skeleton = skeletonize(ink)
    width = 2 * float(np.median(depth[skeleton]))
    strokes = []
    for part in regionprops(label(ink, connectivity=2)):
        size = max(np.ptp(part.coords, axis=0) + 1)
        if size < 3 * width and part.extent > 0.7 and part.euler_number == 1:  # small, round, full
            strokes.append(np.array([part.centroid[::-1]]))  # a dot
            skeleton[tuple(part.coords.T)] = False
    return strokes + join(*cut(skeleton, width), width)


def cut(skeleton: np.ndarray, width: float) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """Cut a skeleton at its junctions.

    Returns:
        the pieces, float `[points, 2]` of x, y, each from the middle of one node to that of
        another, and the numbers of those two nodes. A free end is a node; a ring without a
        junction has one node of its own.
    """
    neighbours = ndimage.convolve(skeleton.astype(int), EIGHT, mode="constant") - 1
    branching = skeleton & (neighbours >= 3)
    nodes, count = ndimage.label(branching, EIGHT)
    centres = {i: np.argwhere(nodes == i).mean(axis=0)[::-1] for i in range(1, count + 1)}
    pieces, ends = [], []
    rest, parts = ndimage.label(skeleton & ~branching, EIGHT)
    for part in range(1, parts + 1):
        line = _ordered(np.argwhere(rest == part))
        touched = []
        for end, inner in ((line[0], line[-1]), (line[-1], line[0])):
            near = nodes[end[0] - 1 : end[0] + 2, end[1] - 1 : end[1] + 2]
            found = [int(i) for i in np.unique(near) if i]
            if len(line) == 1 and touched and len(found) > 1:
                found = [i for i in found if i != touched[0]]
            elif not found and np.abs(end - inner).max() <= 1 and len(line) > 2:
                found = touched  # a ring
            if not found:
                count += 1
                centres[count] = end[::-1].astype(float)
                found = [count]
            touched.append(found[0])
        middle = line[:, ::-1].astype(float)
        piece = np.vstack([centres[touched[0]], middle, centres[touched[1]]])
        pieces.append(piece)
        ends.append((touched[0], touched[1]))
    return _merged(pieces, ends, centres, width)


def _ordered(pixels: np.ndarray) -> np.ndarray:
    """Return the pixels of a line without junctions, in the order along it."""
    left = {tuple(p) for p in pixels}

    def around(p: tuple[int, int]) -> list[tuple[int, int]]:
        steps = [(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)]
        return [q for dy, dx in steps if (q := (p[0] + dy, p[1] + dx)) in left]

    here = next((p for p in sorted(left) if len(around(p)) <= 1), min(left))
    line = []
    while True:
        left.discard(here)
        line.append(here)
        onward = around(here)
        if not onward:
            return np.array(line)
        here = onward[0]


def _length(line: np.ndarray) -> float:
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def _merged(
    pieces: list[np.ndarray],
    ends: list[tuple[int, int]],
    centres: dict[int, np.ndarray],
    width: float,
) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """Drop spurs, and make one junction of two that are closer than the pen is wide."""
    while True:
        degree: dict[int, int] = {}
        for node in itertools.chain(*ends):
            degree[node] = degree.get(node, 0) + 1
        lengths = [_length(piece) for piece in pieces]
        for i in np.argsort(lengths):
            (a, b), size = ends[i], lengths[i]
            if a != b and (degree[a] == 1) != (degree[b] == 1) and size < 0.75 * width:
                del pieces[i], ends[i]  # a spur
                break
            if a == b and degree[a] > 2 and size < 1.5 * width:
                del pieces[i], ends[i]  # a hole of a few pixels
                break
            if a != b and degree[a] > 2 and degree[b] > 2 and size < 1.1 * width:
                del pieces[i], ends[i]
                centres[a] = (centres[a] + centres[b]) / 2
                ends[:] = [(a if p == b else p, a if q == b else q) for p, q in ends]
                break
        else:
            break
        # A node that only two ends meet at is none: join them.
        for node in set(itertools.chain(*ends)):
            at = [(i, k) for i, pair in enumerate(ends) for k in (0, 1) if pair[k] == node]
            if len(at) == 2 and at[0][0] != at[1][0]:
                (i, k), (j, m) = at
                first = pieces[i][::-1] if k == 0 else pieces[i]
                second = pieces[j] if m == 0 else pieces[j][::-1]
                joined, pair = np.vstack([first, second[1:]]), (ends[i][1 - k], ends[j][1 - m])
                for index in sorted((i, j), reverse=True):
                    del pieces[index], ends[index]
                pieces.append(joined)
                ends.append(pair)
    # Near a junction the skeleton bends towards it; go there straight instead.
    for i, pair in enumerate(ends):
        degrees = [sum(p.count(node) for p in ends) for node in pair]
        for k in (0, 1):
            if degrees[k] > 2:
                line = pieces[i][::-1] if k else pieces[i]
                far = np.hypot(*(line - centres[pair[k]]).T) > 0.6 * width
                if far.any():
                    line = line[int(far.argmax()) :]
                line = np.vstack([centres[pair[k]], line])
                pieces[i] = line[::-1] if k else line
    return pieces, ends


def join(pieces: list[np.ndarray], ends: list[tuple[int, int]], width: float) -> list[np.ndarray]:
    """Join pieces that go straight on at a node; return strokes, float `[points, 2]`."""

    def heading(i: int, k: int) -> np.ndarray:
        """Return the direction in which piece `i` leaves its end `k`."""
        line = pieces[i][::-1] if k else pieces[i]
        reach = np.hypot(*(line - line[0]).T)
        far = np.flatnonzero(reach > 1.6 * width)
        return line[far[0] if len(far) else -1] - line[0]

    follows: dict[tuple[int, int], tuple[int, int]] = {}
    for node in set(itertools.chain(*ends)):
        at = [(i, k) for i, pair in enumerate(ends) for k in (0, 1) if pair[k] == node]
        turns = []
        for one, other in itertools.combinations(at, 2):
            u, v = heading(*one), -heading(*other)
            scale = np.linalg.norm(u) * np.linalg.norm(v)
            turns.append((np.arccos(np.clip(u @ v / max(scale, 1e-9), -1, 1)), one, other))
        for turn, one, other in sorted(turns):
            if (turn < SHARPEST or len(at) == 2) and one not in follows and other not in follows:
                follows[one], follows[other] = other, one

    strokes, done = [], set()
    starts = [(i, k) for i in range(len(pieces)) for k in (0, 1)]
    for start in sorted(starts, key=lambda end: end in follows):  # free ends first
        if start[0] in done:
            continue
        parts, (i, k) = [], start
        while i not in done:
            done.add(i)
            line = pieces[i][::-1] if k else pieces[i]
            parts.append(line if not parts else line[1:])
            if (i, 1 - k) not in follows:
                break
            i, k = follows[(i, 1 - k)]
        strokes.append(_smoothed(np.vstack(parts), width))
    return strokes


def _smoothed(line: np.ndarray, width: float) -> np.ndarray:
    """Take the staircase of pixels out of a line; a closed one stays closed."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0], np.cumsum(steps)])
    even = np.linspace(0, along[-1], max(3, int(along[-1]) + 1))
    line = np.column_stack([np.interp(even, along, line[:, k]) for k in (0, 1)])
    if np.hypot(*(line[0] - line[-1])) < 2:
        smooth = ndimage.gaussian_filter1d(line[:-1], 0.25 * width, axis=0, mode="wrap")
        return np.vstack([smooth, smooth[:1]])
    # Reflecting through the end point keeps it where it is.
    reach = min(len(line) - 1, int(width))
    before, after = 2 * line[0] - line[reach:0:-1], 2 * line[-1] - line[-2 : -reach - 2 : -1]
    padded = np.vstack([before, line, after])
    return ndimage.gaussian_filter1d(padded, 0.25 * width, axis=0)[reach : reach + len(line)]


def as_written(strokes: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Put strokes in a writer's order: the leftmost first, each from its upper left end."""
    turned = [s[::-1] if s[0].sum() > s[-1].sum() else s for s in strokes]
    return sorted(turned, key=lambda s: (len(s) == 1, round(s[:, 0].min()), round(s[0, 1])))


def main() -> None:
    """Trace every character with the font given and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("font", type=Path, help="a TrueType font that has Tamil")
    parser.add_argument(
        "--ligature",
        type=Path,
        help="the font for śrī, class 121, if the other draws it in pieces (as Lohit Tamil does; "
        "Noto Sans Tamil does not)",
    )
    parser.add_argument("--out", type=Path, default=HERE / "tamil_strokes.json")
    chosen = parser.parse_args()
    with (HERE / "tamil_classes.csv").open(encoding="utf-8", newline="") as file:
        texts = {row["class_id"]: row["text"] for row in csv.DictReader(file)}
    traced = []
    for name, text in texts.items():
        font = (name == LIGATURE and chosen.ligature) or chosen.font
        strokes = as_written(trace(draw(text, font)))
        left = min(s[:, 0].min() for s in strokes)
        traced.append([s - [left, 0] for s in strokes])
    every = np.vstack([s for strokes in traced for s in strokes])
    top = every[:, 1].min()
    scale = BOX / max(np.ptp(every[:, 0]), np.ptp(every[:, 1]))
    letters = []
    for strokes in traced:
        lines = [approximate_polygon((s - [0, top]) * scale, TOLERANCE) for s in strokes]
        letters.append([np.round(line).astype(int).tolist() for line in lines])
    head = {"about": ABOUT, "baseline": round((MARGIN + EM - top) * scale)}
    rows = ",\n".join(json.dumps(letter, separators=(",", ":")) for letter in letters)
    text = json.dumps(head, indent=0, ensure_ascii=False).removesuffix("\n}")
    chosen.out.write_text(f'{text},\n"strokes": [\n{rows}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
