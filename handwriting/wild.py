"""The wild set: what people bring, made from data-set images so that the right answers are known.

Each condition turns an image of one character into a picture file as a phone, a scanner or a
drawing program would write it. Everything is drawn from a seed: the same image, condition and
seed give the same bytes.
"""

import io
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.morphology import skeletonize

from handwriting import ink
from handwriting.models import DOUBTFUL, Reader
from nbhelpers.data import Split

BOX = 200  # longer side of the drawn character, in pixels, before a condition changes it


def picture(
    image: np.ndarray | torch.Tensor,
    condition: str,
    seed: int,
    index: int = 0,
    proportions: str = "kept",
) -> bytes:
    """Return a picture file of the character as it looks under `condition`, a key of `CONDITIONS`.

    The image is uint8 `[h, w]`, 0 is paper and 255 is ink, all 0 for a blank page. Seed and index
    of the image decide all that is drawn at random. `adapted` proportions, see `tamil.tamil`, are
    undone. An unknown condition is a ValueError.
    """
    random = np.random.default_rng([seed, list(CONDITIONS).index(condition), index])
    return CONDITIONS[condition](enlarged(np.asarray(image), proportions), random)


def published_way(file: bytes, side: int) -> np.ndarray:
    """Prepare a picture as recipes R2 and R3 do: grey, squeezed to the square, dark is ink.

    The bytes of a file in, uint8 `[side, side]` out.
    """
    grey = ImageOps.invert(Image.open(io.BytesIO(file)).convert("L"))
    return np.asarray(grey.resize((side, side)))


def drawn(split: Split, count: int, seed: int) -> np.ndarray:
    """Return the rows of the images that `accuracies` takes, int64 `[count]`, drawn at random."""
    return np.random.default_rng(seed).choice(len(split), min(count, len(split)), replace=False)


def accuracies(
    reader: Reader,
    split: Split,
    count: int = 200,
    seed: int = 0,
    draw: Callable[..., bytes] = picture,
    names: Sequence[str] = (),
) -> dict[str, dict[str, float]]:
    """Measure how a model reads pictures from outside, prepared in two ways.

    The split has the proportions of the reader's card; `drawn` takes `count` images of it, and
    `draw` makes a picture of each under each of `names`: by default of `CONDITIONS`, or those of
    `scenes.SCENES` with `scenes.picture`. A picture that the reader refuses counts as wrong.

    Returns:
        For each name the accuracies, from 0 to 1, by `published_way` and `ours`, and the share of
        our answers that are `sure_and_wrong`.
    """
    card, rows = reader.card, drawn(split, count, seed)
    labels, side = split.labels.numpy()[rows], card.side
    measured = {}
    for name in names or CONDITIONS:
        published, ours = np.zeros((2, len(rows), side, side), np.uint8)
        readable, doubt = np.ones(len(rows), bool), np.zeros(len(rows))
        for i, row in enumerate(rows):
            file = draw(split.images[row], name, seed, int(row), card.proportions)
            published[i] = published_way(file, side)
            try:
                steps = ink.to_form(file, card.form, side, card.proportions)
                ours[i], doubt[i] = steps.form, steps.doubt
            except ink.InkError:
                readable[i] = False
        answers, strange = reader.judged(ours)
        right = answers.argmax(1) == labels
        sure = readable & (answers.max(1) >= card.threshold) & (doubt < DOUBTFUL) & ~strange
        as_published = reader.probabilities(published).argmax(1) == labels
        measured[name] = {
            "published_way": float(as_published.mean()),
            "ours": float((right & readable).mean()),
            "sure_and_wrong": float((sure & ~right).mean()),
        }
    return measured


# ----------------------------------------------------------------------------------- drawing


def enlarged(image: np.ndarray, proportions: str, longer: int = BOX) -> np.ndarray:
    """Return the character alone, smooth and with clear edges: float32 `[h, w]`, 0 to 1."""
    if not (image > 32).any():
        return np.zeros((longer, longer), np.float32)
    left, top, right, bottom = Image.fromarray(image > 32).getbbox()
    crop = np.pad(image[top:bottom, left:right], 2)
    scale = longer / (max(crop.shape) - 4)
    size = [round(side * scale) for side in crop.shape[::-1]]
    if proportions == "adapted":  # `shapes.fitted`, the other way round
        ratio = 2 / np.pi * np.arcsin((min(size) / max(size)) ** 2)
        size[int(np.argmin(size))] = max(8, round(ratio * max(size)))
    large = Image.fromarray(crop).resize(size, Image.Resampling.BICUBIC)
    # A pen's edge is about two pixels wide here, whatever the image's resolution.
    soft = np.asarray(large, np.float32) / 255
    return np.clip((soft - 0.45) * max(1.0, scale / 3) + 0.5, 0, 1)


def on_sheet(strokes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Place the character on a sheet, about in the middle: float32 `[h, w]`, 0 to 1."""
    sheet = max(strokes.shape) / random.uniform(0.45, 0.8) * random.uniform(0.9, 1.1, 2)
    sheet = np.maximum(sheet.round().astype(int), np.array(strokes.shape) + 4)
    return laid(strokes, sheet, random.uniform(0.35, 0.65, 2))


def laid(strokes: np.ndarray, sheet: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Lay the character on a sheet of that height and width: from 0, top left, to 1."""
    free = sheet - strokes.shape
    before = (free * where).astype(int)
    return np.pad(strokes, np.transpose([before, free - before]))


def painted(
    sheet: np.ndarray,
    paper: Sequence[float] | np.ndarray = (255, 255, 255),
    pen: Sequence[float] = (20, 20, 25),
) -> np.ndarray:
    """Return float32 `[h, w, 3]`, 0 to 255: `pen` where the sheet is 1, `paper` where it is 0."""
    cover = sheet[:, :, None]
    return np.asarray(paper, np.float32) * (1 - cover) + np.asarray(pen, np.float32) * cover


def encoded(values: np.ndarray | Image.Image, quality: int | None = None) -> bytes:
    """Return a JPEG of this quality, by default a PNG."""
    if not isinstance(values, Image.Image):
        values = Image.fromarray(np.clip(values, 0, 255).round().astype(np.uint8))
    file = io.BytesIO()
    if quality:
        values.save(file, "JPEG", quality=quality)
    else:
        values.save(file, "PNG", compress_level=1)
    return file.getvalue()


def grain_of(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Return noise of several scales, as of rough paper: float32 `[h, w]`, deviation 1."""
    grain = np.zeros(shape, np.float32)
    for sigma, weight in ((0, 0.5), (1.2, 0.7), (4, 0.5), (16, 0.5)):
        layer = gaussian_filter(random.standard_normal(shape, np.float32), sigma)
        grain += weight * layer / layer.std()
    return grain / grain.std()


def light_on(shape: tuple[int, int], random: np.random.Generator, darkest: float) -> np.ndarray:
    """Return how bright the light is, from 1 down to `darkest`: float32 `[h, w, 1]`."""
    angle, bend = random.uniform(0, 2 * np.pi), random.uniform(0.7, 1.6)
    y, x = np.mgrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    along = x * np.cos(angle) + y * np.sin(angle)
    along = (along - along.min()) / (along.max() - along.min())
    return (1 - (1 - darkest) * along**bend).astype(np.float32)[:, :, None]


def _pen(strokes: np.ndarray, factor: float) -> np.ndarray:
    """Return the character drawn with a pen `factor` times as wide."""
    mask = np.pad(strokes > 0.5, 40)
    if not mask.any():
        return strokes
    inside, skeleton = distance_transform_edt(mask), skeletonize(mask)
    width = 2 * np.median(inside[skeleton])
    if factor > 1:
        drawn = distance_transform_edt(~mask) <= width * (factor - 1) / 2
    else:  # each stroke keeps a share of its own width around its middle
        drawn = inside > width * (1 - factor) / 2
        drawn |= distance_transform_edt(~skeleton) <= width * factor / 2
    return gaussian_filter(drawn.astype(np.float32), 0.7)


# -------------------------------------------------------------------------------- conditions
# Each takes strokes float32 `[h, w]`, 0 to 1, and draws all that is random from the generator.


def _plain(
    strokes: np.ndarray,
    random: np.random.Generator,
    quality: int | None = None,
    **colours: Sequence[float] | np.ndarray,
) -> bytes:
    return encoded(painted(on_sheet(strokes, random), **colours), quality)


_PAPERS = ((255, 236, 179), (200, 230, 201), (187, 222, 251), (248, 187, 208), (215, 204, 200))
_INKS = ((26, 35, 126), (183, 28, 28), (27, 94, 32), (74, 20, 140), (93, 64, 55), (20, 20, 20))


def _coloured(strokes: np.ndarray, random: np.random.Generator) -> bytes:
    paper, pen = _PAPERS[random.integers(len(_PAPERS))], _INKS[random.integers(len(_INKS))]
    paper, pen = (np.array(colour) + random.uniform(-12, 12, 3) for colour in (paper, pen))
    if random.random() < 0.25:  # chalk on a board
        paper, pen = pen, paper
    return _plain(strokes, random, paper=paper, pen=pen)


def _textured(strokes: np.ndarray, random: np.random.Generator) -> bytes:
    sheet = on_sheet(strokes, random)
    tint = np.array((235, 222, 196)) + random.uniform(-15, 15, 3)
    grain = grain_of(sheet.shape, random)[:, :, None] * random.uniform(6, 14)
    pen = np.array((35, 35, 45)) + random.uniform(0, 40)
    return encoded(painted(sheet, tint, pen) + grain, 85)


def _lined(strokes: np.ndarray, random: np.random.Generator) -> bytes:
    sheet = on_sheet(strokes, random)
    y, x = np.mgrid[: sheet.shape[0], : sheet.shape[1]].astype(np.float32)
    tilt = np.tan(np.radians(random.uniform(-1.5, 1.5)))
    spacing, width = random.uniform(24, 60), random.uniform(1.2, 2.6)
    offset = random.uniform(0, spacing)

    def lines(across: np.ndarray) -> np.ndarray:
        away = np.abs((across + offset) % spacing - spacing / 2)
        return np.clip(width / 2 - away + 0.5, 0, 1)

    ruled = lines(y + tilt * x)
    if random.random() < 0.4:  # squared
        ruled = np.maximum(ruled, lines(x - tilt * y))
    colour = np.array((125, 145, 175)) + random.uniform(-30, 30)
    paper = painted(ruled * random.uniform(0.6, 1), (250, 249, 244), colour)
    noise = random.normal(0, 3, (*sheet.shape, 1))
    pen = ((25, 30, 70), (30, 30, 30), (20, 40, 120))[random.integers(3)]
    return encoded(painted(sheet, paper, pen) + noise, 85)


def _lit(strokes: np.ndarray, random: np.random.Generator) -> bytes:
    sheet = on_sheet(strokes, random)
    light = light_on(sheet.shape, random, random.uniform(0.3, 0.45))
    noise = random.normal(0, 2, (*sheet.shape, 1))
    return encoded(painted(sheet, (245, 243, 238), (40, 40, 50)) * light + noise, 90)


def _any_size(strokes: np.ndarray, random: np.random.Generator) -> bytes:
    sheet = on_sheet(strokes, random)
    longer = round(float(np.exp(random.uniform(np.log(56), np.log(2000)))))
    scale = longer / max(sheet.shape)
    size = tuple(max(8, round(side * scale)) for side in sheet.shape[::-1])
    grey = Image.fromarray((255 * (1 - sheet)).astype(np.uint8))
    return encoded(grey.resize(size, Image.Resampling.BICUBIC))


def _off_centre(strokes: np.ndarray, random: np.random.Generator) -> bytes:
    sides = max(strokes.shape) / random.uniform(0.3, 0.6) * random.uniform(0.9, 1.1, 2)
    near = np.where(random.random(2) < 0.5, random.uniform(0, 0.1), random.uniform(0.9, 1))
    return encoded(painted(laid(strokes, np.maximum(sides.astype(int), strokes.shape), near)))


def _rotated(strokes: np.ndarray, random: np.random.Generator) -> bytes:
    angle = random.uniform(4, 10) * random.choice([-1, 1])
    turned = Image.fromarray(strokes).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    return _plain(np.clip(np.asarray(turned), 0, 1), random)


def _by_pen(least: float, most: float, strokes: np.ndarray, random: np.random.Generator) -> bytes:
    return _plain(_pen(strokes, random.uniform(least, most)), random)


def _transparent(strokes: np.ndarray, random: np.random.Generator) -> bytes:
    cover = 255 * on_sheet(strokes, random)
    colours = (np.full_like(cover, colour) for colour in _INKS[random.integers(len(_INKS))])
    return encoded(np.dstack([*colours, cover]))


def _photographed(strokes: np.ndarray, random: np.random.Generator) -> bytes:
    sheet = on_sheet(strokes, random)
    light = light_on(sheet.shape, random, random.uniform(0.6, 0.8))
    paper = np.array((225, 220, 208)) + random.uniform(-12, 12, 3)
    values = painted(sheet, paper, (45, 45, 60)) * light
    values = gaussian_filter(values, (BOX * random.uniform(0.01, 0.025),) * 2 + (0,))
    return encoded(values + random.normal(0, 5, values.shape), 70)


CONDITIONS: dict[str, Callable[[np.ndarray, np.random.Generator], bytes]] = {
    "as it is": _plain,
    "inverted": partial(_plain, paper=(18, 22, 20), pen=(240, 240, 235)),
    "coloured ink and paper": _coloured,
    "textured paper": _textured,
    "lined paper": _lined,
    "lighting gradient": _lit,
    "56 to 2,000 pixels": _any_size,
    "off-centre": _off_centre,
    "rotated up to 10°": _rotated,
    "thick pen": partial(_by_pen, 1.8, 2.2),
    "thin pen": partial(_by_pen, 0.4, 0.6),
    "JPEG at quality 30": partial(_plain, quality=30),
    "transparent PNG": _transparent,
    "photo-like blur": _photographed,
}
