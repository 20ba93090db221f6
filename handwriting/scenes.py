"""Everyday pictures: what surrounds a character on what people really photograph or save.

`wild` asks how ink and paper may look; this asks what else is in the picture: a desk, a frame, a
page of squares, a figure's axes. Made from data-set images too, so that the answers are known, and
from a seed: the same image, scene and seed give the same bytes.
"""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from handwriting import wild
from handwriting.surface import perspective

INKS = ((28, 30, 42), (35, 40, 110), (60, 58, 60), (25, 25, 25))
DESKS = ((110, 75, 45), (150, 110, 70), (60, 62, 66), (40, 70, 55), (165, 160, 155))
NOTES = ((250, 224, 104), (255, 190, 200), (180, 225, 170), (170, 215, 240), (250, 180, 110))


def picture(
    image: np.ndarray | torch.Tensor,
    scene: str,
    seed: int,
    index: int = 0,
    proportions: str = "kept",
) -> bytes:
    """Return a picture file of the character in a scene, a key of `SCENES`; as `wild.picture`."""
    random = np.random.default_rng([seed, 100 + list(SCENES).index(scene), index])
    return SCENES[scene](np.asarray(image), proportions, random)


def pair(images: tuple[np.ndarray, np.ndarray], seed: int, below: bool = False) -> bytes:
    """Return a picture file of two characters, uint8 `[h, w]` each: side by side, or `below`."""
    random = np.random.default_rng(seed)
    one, other = (wild.enlarged(np.asarray(image), "kept", 160) for image in images)
    if below:
        one, other = one.T, other.T
    gap, edge = random.integers(30, 70), random.integers(40, 60)
    page = np.zeros((max(len(one), len(other)) + 2 * edge, one.shape[1] + other.shape[1] + gap))
    page = np.pad(page, ((0, 0), (edge, edge)))
    page[edge : edge + len(one), edge : edge + one.shape[1]] = one
    page[edge : edge + len(other), -edge - other.shape[1] : -edge] = other
    return wild.encoded(wild.painted(page.T if below else page))


def page(images: list[np.ndarray], seed: int) -> bytes:
    """Return a picture file of characters, uint8 `[h, w]` each, in rows, as `wild.picture`."""
    random = np.random.default_rng(seed)
    in_row, size = random.integers(2, 7), random.uniform(70, 130)
    high, wide = size * random.uniform(1.35, 2), size * random.uniform(1.2, 1.7)
    rows = -(-len(images) // in_row)
    sheet = np.zeros((np.array((rows, in_row)) * (high, wide) + size).astype(int), np.float32)
    climb = random.uniform(-0.05, 0.05)
    for number, image in enumerate(images):
        strokes = _ink(image, "kept", size * random.uniform(0.8, 1.1))
        row, column = divmod(number, in_row)
        middle = np.array(((row + 0.5) * high, (column + 0.5) * wide)) + size / 2
        middle += size * random.uniform(-0.06, 0.06, 2) + (climb * (column - in_row / 2) * wide, 0)
        top, left = (middle - np.array(strokes.shape) / 2).clip(2).astype(int)
        sheet[top : top + len(strokes), left : left + strokes.shape[1]] += strokes
    return _photo(_written(np.full((*sheet.shape, 3), 243.0), sheet.clip(0, 1), random), random)


def _ink(image: np.ndarray, proportions: str, longer: float) -> np.ndarray:
    return wild.enlarged(image, proportions, round(longer))


def _chosen(colours: tuple, random: np.random.Generator) -> np.ndarray:
    return np.array(colours[random.integers(len(colours))]) + random.uniform(-10, 10, 3)


def _photo(values: np.ndarray, random: np.random.Generator, darkest: float = 0.75) -> bytes:
    """Return float `[h, w, 3]` as a phone takes it: uneven light, a little blur, noise, JPEG."""
    values = values * wild.light_on(values.shape[:2], random, random.uniform(darkest, 1))
    values = gaussian_filter(values, (*(random.uniform(0.3, 1),) * 2, 0))
    return wild.encoded(values + random.normal(0, random.uniform(1, 4), values.shape), 88)


def _lying(
    grounds: tuple,
    papers: tuple,
    turn: float,
    image: np.ndarray,
    proportions: str,
    random: np.random.Generator,
) -> bytes:
    """A sheet on a ground: turned, seen from aside, and now and then partly out of sight."""
    sheet = wild.on_sheet(_ink(image, proportions, 200), random)
    paper, pen = _chosen(papers, random), _chosen(INKS, random)
    if random.random() < 0.15:  # chalk or a white pen on a card or board
        paper, pen = _chosen(((35, 35, 38), (30, 60, 45)), random), np.array((235, 235, 230))
    high, wide = sheet.shape
    angle = np.radians(random.uniform(-turn, turn))
    corners = np.array([(-wide, -high), (wide, -high), (wide, high), (-wide, high)]) / 2
    corners = corners @ [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    corners *= 1 + random.uniform(-0.05, 0.05, (4, 1))
    room = np.ptp(corners, axis=0) * random.uniform(1.08, 1.5, 2)
    middle = room / 2
    if random.random() < 0.25:  # an edge or a corner of the sheet lies outside
        middle += random.choice([-1, 1], 2) * room * random.uniform(0, 0.14, 2)
    size = room.astype(int)
    grain = wild.grain_of((size[1], size[0]), random) + gaussian_filter(
        4 * random.standard_normal((size[1], size[0])), (1, 12)
    )
    ground = _chosen(grounds, random) + (grain * random.uniform(1, 9))[:, :, None]
    onto = perspective(corners + middle, np.array([(0, 0), (wide, 0), (wide, high), (0, high)]))
    how = tuple(size.tolist()), Image.Transform.PERSPECTIVE, onto, Image.Resampling.BICUBIC
    both = (Image.fromarray(np.pad(values, 1)) for values in (np.ones_like(sheet), sheet))
    cover, drawn = (np.asarray(one.transform(*how)).clip(0, 1)[:, :, None] for one in both)
    on_sheet = paper * (1 - drawn) + pen * drawn
    shade = 1 - 0.35 * gaussian_filter(cover[:, :, 0], 8)[:, :, None]  # the sheet's shadow
    return _photo(ground * shade * (1 - cover) + on_sheet * cover, random)


def _boxed(image: np.ndarray, proportions: str, random: np.random.Generator) -> bytes:
    """A form: the character in a printed or drawn frame."""
    sheet = wild.on_sheet(_ink(image, proportions, 200), random)
    sheet = np.pad(sheet, random.integers(12, 90))
    rows, columns = (np.flatnonzero(sheet.any(axis)) for axis in (1, 0))
    pad = random.integers(14, 50, 4)
    frame = Image.new("L", sheet.shape[::-1])
    box = [columns[0] - pad[0], rows[0] - pad[1], columns[-1] + pad[2], rows[-1] + pad[3]]
    box = np.clip(box, 3, [*sheet.shape[::-1] * 2][:4] - np.array(4))
    rounded = int(random.integers(0, 20))
    width = int(random.integers(2, 7))
    ImageDraw.Draw(frame).rounded_rectangle(box.tolist(), rounded, outline=255, width=width)
    turned = frame.rotate(random.uniform(-2, 2), Image.Resampling.BICUBIC)
    values = wild.painted(np.asarray(turned, np.float32) / 255, (248, 248, 244), (40, 40, 48))
    return _photo(_written(values, sheet, random), random)


def _written(values: np.ndarray, sheet: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return paper float `[h, w, 3]` with what stands on the sheet `[h, w]`, in ink or pencil."""
    cover = sheet[:, :, None] * random.uniform(0.8, 1)
    return values * (1 - cover) + _chosen(INKS, random) * cover


def _crumpled(image: np.ndarray, proportions: str, random: np.random.Generator) -> bytes:
    sheet = wild.on_sheet(_ink(image, proportions, 200), random)
    relief = gaussian_filter(random.standard_normal(sheet.shape), random.uniform(7, 18))
    slope = np.add(*np.gradient(relief))
    light = 1 + slope / slope.std() * random.uniform(0.1, 0.26)
    values = _written(np.full((*sheet.shape, 3), (235.0, 233, 224)), sheet, random)
    return _photo(np.clip(values * light[:, :, None], 0, 255), random, 0.85)


def _paged(
    squared: bool, image: np.ndarray, proportions: str, random: np.random.Generator
) -> bytes:
    """A whole page of squares or lines, the character small on it."""
    high, wide = 1200, 900
    spacing = random.uniform(42, 64) if squared else random.uniform(52, 80)
    strokes = _ink(image, proportions, spacing * random.uniform(1.2, 2.2))
    sheet = wild.laid(strokes, np.array((high, wide)), random.uniform(0.15, 0.85, 2))
    lines = np.zeros((high, wide), np.float32)
    tilt, width = np.tan(np.radians(random.uniform(-1.5, 1.5))), random.uniform(1.4, 3)
    y, x = np.mgrid[:high, :wide].astype(np.float32)
    for across in (y + tilt * x, x - tilt * y)[: 1 + squared]:
        away = np.abs((across + random.uniform(0, spacing)) % spacing - spacing / 2)
        lines = np.maximum(lines, np.clip(width / 2 - away + 0.5, 0, 1))
    colour = np.array((130, 155, 205)) + random.uniform(-30, 30)
    values = wild.painted(lines * random.uniform(0.5, 1), (247, 247, 243), colour)
    if not squared and random.random() < 0.5:
        values[:, 110:113] = (220, 110, 110)  # the margin's line
    return _photo(_written(values, sheet, random), random)


def _small(image: np.ndarray, proportions: str, random: np.random.Generator) -> bytes:
    """Ordinary handwriting on a photo or scan of a whole plain page."""
    high = int(random.integers(1600, 3000))
    strokes = _ink(image, proportions, high * random.uniform(0.03, 0.05))
    sheet = wild.laid(strokes, np.array((high, high * 5 // 7)), random.uniform(0.1, 0.9, 2))
    return wild.encoded(wild.painted(sheet, (245, 244, 240), _chosen(INKS, random)), 85)


def _figure(image: np.ndarray, proportions: str, random: np.random.Generator) -> bytes:
    """A figure that a notebook has saved: with axes, a title, or only the figure's margin."""
    figure = Figure(figsize=random.uniform(2.5, 5, 2), dpi=random.uniform(60, 110))
    axes = figure.subplots()
    shown = image
    if proportions == "adapted":
        shown = 255 * np.pad(_ink(image, proportions, 100), 10)
    axes.imshow(shown, cmap=("gray", "gray_r", "viridis", "Greys")[random.integers(4)])
    kind = random.integers(3)
    if kind == 0:
        axes.axis("off")
    if kind == 1:
        axes.set_title("label: 4")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _tight(image: np.ndarray, proportions: str, random: np.random.Generator) -> bytes:
    strokes = _ink(image, proportions, random.uniform(40, 400))
    rows, columns = (np.flatnonzero((strokes > 0.5).any(axis)) for axis in (1, 0))
    strokes = strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return wild.encoded(wild.painted(strokes, (245, 244, 240), _chosen(INKS, random)))


def _held(image: np.ndarray, proportions: str, random: np.random.Generator) -> bytes:
    """A page of a spiral pad, with holes along an edge, or a thumb that holds it."""
    sheet = wild.on_sheet(_ink(image, proportions, 200), random)
    sheet = np.pad(sheet, 45)
    high, wide = sheet.shape
    values = wild.painted(sheet, (240, 238, 232), _chosen(INKS, random))
    paper = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(paper)
    if random.random() < 0.5:
        for top in range(8, high, int(random.integers(26, 40))):
            draw.ellipse((12, top, 26, top + 14), (45, 45, 48))
    else:
        x = random.uniform(0.2, 0.8) * wide
        tip = random.uniform(50, 90)
        draw.ellipse((x - 45, high - tip, x + 45, high + 150), (205, 150, 125))
    return _photo(np.asarray(paper, np.float32), random)


def _shaded(image: np.ndarray, proportions: str, random: np.random.Generator) -> bytes:
    """A sheet with the shadow of a phone, and of the arm that holds it, on the character."""
    sheet = np.pad(wild.on_sheet(_ink(image, proportions, 200), random), random.integers(40, 160))
    middle = np.array([axis.mean() for axis in np.nonzero(sheet)[::-1]])
    wide, high = random.uniform(150, 300) * np.array((0.5, 1))
    middle[0] += wide * random.uniform(-1.2, 1.2)  # its edge may go through the character
    phone = np.array([(-wide, -high), (wide, -high), (wide, high), (-wide, high)])
    arm = np.array([(-0.6 * wide, 0), (0.6 * wide, 0), (wide, 2000), (-wide, 2000)])
    cosine, sine = np.cos(turn := random.uniform(-0.7, 0.7)), np.sin(turn)
    shadow = Image.new("L", sheet.shape[::-1])
    for part in (phone, arm):
        corners = part @ [[cosine, sine], [-sine, cosine]] + middle
        ImageDraw.Draw(shadow).polygon([tuple(corner) for corner in corners], 255)
    soft = gaussian_filter(np.asarray(shadow, np.float32) / 255, random.uniform(2, 14))
    values = _written(np.full((*sheet.shape, 3), 244.0), sheet, random)
    return _photo(values * (1 - random.uniform(0.25, 0.55) * soft[:, :, None]), random, 0.85)


def _marked(image: np.ndarray, proportions: str, random: np.random.Generator) -> bytes:
    """A character that somebody has ringed, not quite around, or underlined."""
    sheet = np.pad(wild.on_sheet(_ink(image, proportions, 200), random), 80)
    low, high = (np.array([end(axis) for axis in np.nonzero(sheet)[::-1]]) for end in (min, max))
    half = (high - low) / 2 + random.uniform(10, 25)
    if random.random() < 0.5:
        angles = random.uniform(0, 6) + np.linspace(0, random.uniform(5.8, 6.8), 60)
        reach = 1.45 + 0.06 * np.sin(angles * random.uniform(0.5, 2) + random.uniform(0, 6))
        points = reach[:, None] * half * np.stack([np.cos(angles), np.sin(angles)], 1)
    else:
        points = half * random.uniform(1.3, 1.6) * [(-1, 0), (1, 0)] + (0, half[1])
        points[:, 1] += random.uniform(8, 25, 2)
    marks = Image.new("L", sheet.shape[::-1])
    line = [tuple(point) for point in points + (low + high) / 2]
    ImageDraw.Draw(marks).line(line, 255, int(random.integers(4, 13)), joint="curve")
    drawn = np.maximum(sheet, gaussian_filter(np.asarray(marks, np.float32) / 255, 0.7))
    return _photo(_written(np.full((*sheet.shape, 3), 243.0), drawn, random), random)


_LIGHT = ((245, 244, 240), (235, 230, 215))
SCENES: dict[str, Callable[[np.ndarray, str, np.random.Generator], bytes]] = {
    "sheet on a desk": partial(_lying, DESKS, _LIGHT, 18),
    "sticky note": partial(_lying, (*_LIGHT, (60, 62, 66)), NOTES, 8),
    "drawn box": _boxed,
    "crumpled paper": _crumpled,
    "squared page": partial(_paged, True),
    "ruled page": partial(_paged, False),
    "small on a page": _small,
    "saved figure": _figure,
    "tight crop": _tight,
    "thumb or holes": _held,
    "phone's shadow": _shaded,
    "ring or underline": _marked,
}
