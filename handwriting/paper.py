"""Find the character on a picture: take the paper away, ruled lines (`rules`) and specks."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold, threshold_otsu

from handwriting.parts import EIGHT, bounds, character, cut, refused, rim, separate
from handwriting.pictures import InkError, Picture, opened, within
from handwriting.rules import across, ruled_lines
from handwriting.surface import surfaces
from nbhelpers.shapes import INK

WORKING = INK["working"]  # longest side while the ink is looked for, in pixels
FINER = 3 * WORKING  # the same, where nothing is found
TINY = 20  # a picture with a smaller longer side is enlarged, in pixels
NEAR = INK["near"]  # a character with a smaller longer side is looked at from closer
COARSE = INK["coarse"]  # longest side while the paper is estimated
# Widest strokes in a shadow that are looked for, of the longest side, and what is guessed then.
STROKES = {0.16: 0.05, 0.07: 0.08, 0.04: 0.1}
LEAST = 0.16  # of the longest side: with a smaller one, a character is looked for more finely
LEAST_CONTRAST = INK["least_contrast"]  # between ink and paper, of 255
LEAST_CLEARNESS = INK["least_clearness"]  # contrast, in standard deviations of the paper's noise
LITTLE = 0.15  # doubt, from 0 to 1, with which a picture is looked at no further
SPECK = 40  # what is smaller, in pixels, cannot be told from rough paper
TOO_MUCH = 0.75  # doubt with which it is refused

# The paper is a smooth surface; or that with a relief, as if crumpled; or what is around dark
# strokes, at most so wide, with the edge of a shadow across it; or of one colour `[3]`.
Kind = Literal["smooth", "rough"] | float | np.ndarray
View = tuple[Image.Image, np.ndarray]  # what is looked at; `[3, 3]` to shares of the whole picture


@dataclass(frozen=True)
class Look:
    """What was seen in a picture, or in a part of it, under one assumption about its paper."""

    ink: np.ndarray  # uint8 `[h, w]`, 0 is paper and 255 is ink
    box: np.ndarray  # left, top, right, bottom of the character
    doubt: float  # whether it is one, from 0 to 1
    view: Image.Image  # what was looked at, before it was made smaller
    kind: Kind  # of paper
    onto: np.ndarray  # `[3, 3]`, from the view's pixels to shares of the whole picture
    soft: bool  # whether part of the ink is without a clear edge, as a shadow's
    others: np.ndarray  # bool `[h, w]`, marks that are not of the character: a ring, a line

    def within(self, box: np.ndarray) -> tuple[float, ...]:
        """Return where a box of the ink lies: left, top, right, bottom, as shares, 0 to 1."""
        box = box * max(self.view.size) / max(self.ink.shape)
        x, y, z = self.onto @ [box[[0, 2, 2, 0]], box[[1, 1, 3, 3]], np.ones(4)]
        corners = np.clip([x / z, y / z], 0, 1)
        return *corners.min(1).tolist(), *corners.max(1).tolist()

    def surrounds(self, other: "Look") -> bool:
        """Return whether the box lies all around that of another look at the same picture."""
        left, top, right, bottom = np.subtract(self.within(self.box), other.within(other.box))
        return max(left, top, -right, -bottom) < 0


@dataclass(frozen=True)
class Found:
    """A character in a picture."""

    ink: np.ndarray  # uint8 `[h, w]`, all that was looked at: 0 is paper and 255 is ink
    crop: np.ndarray  # uint8 `[h, w]`, the character alone
    box: tuple[float, ...]  # left, top, right, bottom, as shares of the picture's sides
    doubt: float  # whether that is all of one character, from 0 to 1
    name: str  # what to call the picture in an error


def found(picture: Picture) -> Found:
    """Return the character that a picture shows.

    Raises:
        InkError: the picture cannot be read, is too large or too small, or shows no character.
    """
    look, doubt, name = _best_look(picture)
    return Found(look.ink, cut(_closer(look)), look.within(look.box), doubt, name)


def all_found(picture: Picture) -> list[Found]:
    """Return every separate character on a picture, row by row, from left to right.

    Raises an InkError as `found` does.
    """
    look, _, name = _best_look(picture, many=True)
    return [
        Found(look.ink, crop, look.within(box), 0.6 * bool(rim(near).any()), name)
        for crop, box, near in separate(look.ink)
    ]


def _best_look(picture: Picture, many: bool = False) -> tuple[Look, float, str]:
    """Return what explains a picture best, the doubt and a name; `many` characters may be on it.

    Raises an InkError as `found` does.
    """
    colour, name = opened(picture)
    whole = _enlarged(colour) if max(colour.size) < TINY else (colour, _shares(colour.size))
    best, first, shadow = None, None, False
    for view, longest, kind, guess in _views(whole):
        if isinstance(kind, float) and not (shadow := shadow or best is None or best[0].soft):
            continue
        if best and (guess >= best[1] or (best[0].soft and longest > WORKING and view is whole)):
            continue  # it cannot win, or shows the same shadow
        try:
            look = _look(view, FINER if many else longest, kind, many)
        except InkError as error:
            first = first or error
            continue
        if isinstance(kind, float) and best and look.surrounds(best[0]):
            continue  # a ring around a pen that was too thick for this
        doubt = min(1.0, look.doubt + guess)
        if best is None or doubt < best[1]:
            best = look, doubt
        if doubt < LITTLE:
            break
    if best is None or (best[1] > TOO_MUCH and not many):
        raise InkError(f"{name}: {first or refused('unclear')}") from None
    return *best, name


def _shares(size: tuple[int, int]) -> np.ndarray:
    return np.diag([1 / size[0], 1 / size[1], 1])


def _enlarged(colour: Image.Image) -> View:
    """Return a picture of a few pixels with smooth edges, and a margin as its corners are."""
    corners = np.median(np.asarray(colour)[[0, 0, -1, -1], [0, -1, 0, -1]], 0).astype(np.uint8)
    framed = Image.new("RGB", (colour.width + 2, colour.height + 2), tuple(corners.tolist()))
    framed.paste(colour, (1, 1))
    large = framed.resize([12 * side for side in framed.size], Image.Resampling.BICUBIC)
    return large, _shares(colour.size) @ np.array([[1 / 12, 0, -1], [0, 1 / 12, -1], [0, 0, 1]])


def _views(whole: View) -> Iterator[tuple[View, int, Kind, float]]:
    """Yield what to look at, at which longest side, the kind of paper, and what is guessed."""
    colour, shares = whole
    yield whole, WORKING, "smooth", 0.0
    straight: list[View] = []
    for surface, onto in surfaces(colour):
        straight.append((surface, shares @ onto))
        if 0.3 < _lightness(surface, 50) / _lightness(colour, 90) < 0.8:  # it may be a shadow
            yield from ((whole, WORKING, *how) for how in STROKES.items())
        yield straight[-1], WORKING, "smooth", 0.0
    for view in (whole, *straight):
        if max(view[0].size) > 1.3 * WORKING:
            yield view, FINER, "smooth", 0.0
    for how in STROKES.items():
        yield from ((view, WORKING, *how) for view in (whole, *straight[:1]))
    for guess, plain in zip((0.1, 0.35), _commonest(colour), strict=False):
        yield whole, WORKING, plain, guess
    for view in (whole, *straight):
        yield view, WORKING, "rough", 0.3


def _lightness(colour: Image.Image, percent: int) -> float:
    """Return the lightness, 1 to 256, that so many per cent of the pixels do not exceed."""
    return 1 + float(np.percentile(within(colour, COARSE).convert("L"), percent))


def _commonest(colour: Image.Image) -> list[np.ndarray]:
    """Return the commonest colour, and that of what is of another lightness: float32 `[3]`.

    First the one of most corners: of a picture cut around a character, they are paper.
    """
    small = np.asarray(within(colour, COARSE), np.float32)
    grey = small.sum(2).astype(int) // 48  # 16 levels
    counts = np.bincount(grey.ravel(), minlength=16)
    levels = [int(counts.argmax())]
    counts[max(0, levels[0] - 3) : levels[0] + 4] = 0
    levels += [int(counts.argmax())] * bool(counts.any())
    corners = grey[[0, 0, -1, -1], [0, -1, 0, -1]]
    near = [sum(abs(corners - level) < 3) for level in levels]
    if near[-1] > near[0]:
        levels.reverse()
    return [np.median(small[grey == level], 0) for level in levels]


def _closer(look: Look) -> np.ndarray:
    """Return the ink of a small character in a large view, seen from closer: uint8 `[h, w]`."""
    scale = max(look.view.size) / max(look.ink.shape)
    longer = max(look.box[2:] - look.box[:2])
    if scale < 1.3 or longer >= NEAR:
        return look.ink
    box = (look.box + 0.4 * longer * np.array([-1, -1, 1, 1])) * scale
    box = np.clip(box, 0, [*look.view.size] * 2).round()
    near = look.view.crop(box.astype(int).tolist())
    others = ndimage.maximum_filter(look.others, 5) & ~ndimage.maximum_filter(look.ink > 0, 3)
    there = np.minimum(box / scale, [*others.shape[::-1]] * 2).tolist()
    left_out = Image.fromarray(others).resize(within(near, WORKING).size, box=there)
    kind = look.kind
    if isinstance(kind, float):  # the same strokes are wider there
        kind = min(0.5, kind * max(look.view.size) / max(near.size))
    with contextlib.suppress(InkError):
        closer = _look((near, look.onto), WORKING, kind, left_out=np.asarray(left_out))
        if closer.doubt <= TOO_MUCH:
            return closer.ink
    return look.ink  # what was seen from afar will do


def _look(
    seen: View, longest: int, kind: Kind, many: bool = False, left_out: np.ndarray | None = None
) -> Look:
    """Find the ink of one or `many` characters, not `left_out`, at most `longest` pixels a side."""
    view, onto = seen
    picture = within(view, longest)
    plain, wide = isinstance(kind, np.ndarray), isinstance(kind, float)
    rough = isinstance(kind, str) and kind == "rough"
    values = np.asarray(picture, np.float32)
    if plain:
        paper = np.full_like(values, kind).transpose(2, 0, 1)
    else:
        paper = _around_strokes(values, kind) if isinstance(kind, float) else _paper(picture)
    strength, noise = _smoothed(_strength(values, paper), plain)
    inked = _mask(strength, noise, rough or wide, left_out)
    mask, pen, doubt = character(inked, many)
    level = float(np.median(strength[mask & inked]))
    if wide and _lighter_around(values.mean(2), mask, level) < 0.9:
        raise refused("filled")  # a bit of a dark area
    strength[mask & ~inked] = level  # the inside of an outline
    box = bounds(mask)
    around = np.s_[box[1] : box[3], box[0] : box[2]]
    steepest, soft = _edge(mask[around], strength[around])
    soft = soft or _of_shadow(strength, mask, level, pen)
    doubt = max(doubt, 0.35 * soft)  # part of it is a shadow
    free = not rim(mask).any()
    largest = np.bincount(ndimage.label(mask, EIGHT)[0].ravel())[1:].max()
    if rough and (steepest < 0.18 * level or not free or largest < SPECK):
        raise refused("shadow")
    # A rule, rather; a large character was seen before.
    if ((longest > WORKING and not many) or wide) and not free:
        raise refused("unclear")
    plate = not free and pen > 0.2 * max(np.ptp(axis) + 1 for axis in np.nonzero(mask))
    if plate and steepest * pen < (3 if plain else 6) * level:
        raise refused("shadow")
    near = ndimage.maximum_filter(mask, 1 + 2 * max(1, round(min(3, pen / 3))))
    low = min(2.5 * noise, 0.3 * level)
    ink = np.rint(np.clip((strength - low) * (255 / (level - low)), 0, 255) * near).astype(np.uint8)
    small = max(box[2:] - box[:2]) < LEAST * longest
    if small and longest < FINER and max(view.size) > 1.3 * longest:
        doubt = max(doubt, 0.2)  # it deserves a finer look
    return Look(ink, box, doubt, view, kind, onto, soft, inked & ~mask)


def _edge(mask: np.ndarray, strength: np.ndarray) -> tuple[float, bool]:
    """Return how steep a mask's edge is, and whether a tenth of it is much less so than the rest.

    The mask is bool, the strength float `[h, w]`, both cut to the mask.
    """
    edge = mask & ~ndimage.minimum_filter(mask, 3)
    if min(mask.shape) < 2 or not edge.any():  # it fills its box, and ends sharply there
        return np.inf, False
    steep = np.hypot(*np.gradient(strength))
    least, usual = np.quantile(ndimage.maximum_filter(steep, 3)[edge], [0.1, 0.8])
    return float(np.percentile(steep[mask], 99)), bool(least < 0.5 * usual)


def _of_shadow(strength: np.ndarray, mask: np.ndarray, level: float, pen: float) -> bool:
    """Return whether a mask bool `[h, w]` is a shadow, or the light around one, not ink."""
    if pen > 8:  # even, and with darker strokes in it
        low, middle, high, darkest = np.quantile(strength[mask], (0.3, 0.5, 0.6, 0.97))
        if darkest > 1.25 * middle * high / low:
            return True
    other = (strength < -0.6 * level) & ~ndimage.maximum_filter(mask, 9)  # strokes in the shadow
    return np.count_nonzero(other) > 0.15 * np.count_nonzero(mask)


def _around_strokes(values: np.ndarray, wide: float) -> np.ndarray:
    """Return the paper behind dark strokes from what is around them: float32 `[3, h, w]`.

    Strokes are at most so `wide`, as a share of the picture's longer side.
    """
    side = 1 + 2 * round(wide / 2 * max(values.shape))
    closed = ndimage.grey_closing(values, (side, side, 1))
    return ndimage.gaussian_filter(closed, (2, 2, 0)).transpose(2, 0, 1)


def _lighter_around(grey: np.ndarray, mask: np.ndarray, level: float) -> float:
    """Return the share of what is around a mask bool `[h, w]` that is lighter than what is in it.

    Around strokes, nearly all of it is; a bit of a dark area has more of that on one side.
    """
    around = ndimage.maximum_filter(mask, 7) & ~ndimage.maximum_filter(mask, 3)
    share = ndimage.gaussian_filter(mask.astype(np.float32), 4)
    inside = ndimage.gaussian_filter(np.where(mask, grey, 0), 4)[around] / (share[around] + 1e-6)
    return np.count_nonzero(grey[around] > inside + 0.3 * level) / max(1, inside.size)


def _smoothed(strength: np.ndarray, plain: bool) -> tuple[np.ndarray, float]:
    """Return the strength, smoothed where there is noise, and that of the paper."""
    limit = 0.3 * float(np.percentile(strength[::3, ::3], 99)) if plain else np.inf
    noise = _noise(strength, limit)  # ink may cover most of a picture with paper of one colour
    if noise <= 1:
        return strength, noise
    strength = ndimage.gaussian_filter(strength, 0.7)
    return strength, _noise(strength, limit)


def _noise(strength: np.ndarray, most: float) -> float:
    """Return the standard deviation of the paper, from the median: ink does not count."""
    sampled = strength[::2, ::2]
    sampled = sampled[sampled <= most]
    if not sampled.size:
        raise refused("unclear")
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
    away = np.abs(colour - np.median(colour, 1, keepdims=True)).max(0)
    rim = np.maximum(np.abs(x), np.abs(y)) > 0.85
    # Least squares, with little weight for what lies far from the surface; first along the rim,
    # which is mostly paper. The third that fits best tells the spread: ink may cover nearly half.
    for step in range(8):
        seen = rim if step < 3 else np.ones_like(rim)
        spread = max(1.0, 2.2 * np.quantile(away[seen], 0.35))
        weighted = terms * seen / (1 + (away / (2 * spread)) ** 2)
        fit = np.linalg.solve(weighted @ terms.T + 1e-3 * np.eye(6), weighted @ colour.T)
        left_over = colour - fit.T @ terms
        away = np.abs(left_over).max(0)
    spread = max(1.0, 2.2 * np.quantile(away, 0.35))
    known = (away < 3 * spread).astype(float).reshape(height, width)
    weight = ndimage.gaussian_filter(known, COARSE / 10) + 0.1
    bands = []
    for surface, rest in zip(fit.T @ terms, left_over, strict=True):
        near = ndimage.gaussian_filter(rest.reshape(known.shape) * known, COARSE / 10) / weight
        band = Image.fromarray((surface.reshape(known.shape) + near).astype(np.float32))
        bands.append(np.asarray(band.resize(picture.size, Image.Resampling.BILINEAR)))
    return np.stack(bands)


def _strength(values: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """Return how far each pixel differs from the paper in the direction of the ink's colour."""
    change = (values.transpose(2, 0, 1) - paper).reshape(3, -1)
    size = np.abs(change).max(0)
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


def _mask(strength: np.ndarray, noise: float, rough: bool, out: np.ndarray | None) -> np.ndarray:
    """Divide ink from paper, ruled lines and marks left `out`; return bool `[h, w]`."""
    ruled = ruled_lines(strength, noise)
    free = strength.ravel() if ruled is None else strength[~ruled]
    few = min(30, 1 + free.size // 200)  # the smallest character that counts
    top = float(np.partition(free, -few)[-few]) if free.size else 0.0
    if top < LEAST_CONTRAST:
        raise refused("empty")
    threshold = max(threshold_otsu(np.clip(free[::3], 0, top)), 3 * noise)
    inside = free[free > threshold]
    level = float(np.median(inside)) if inside.size else 0.0
    clear = 2.2 if rough else LEAST_CLEARNESS
    if level < max(clear * noise, LEAST_CONTRAST):
        raise refused("unclear")
    if rough:  # the relief's shadows are lighter than ink
        mask = apply_hysteresis_threshold(strength, 0.6 * level, 0.95 * level)
    else:
        mask = strength > max(3 * noise, 0.45 * level)
    mask = mask if ruled is None else across(mask, ruled, strength, level)
    if out is not None:  # each mark as a whole, or not at all
        parts, count = ndimage.label(mask, EIGHT)
        mask &= (ndimage.mean(out, parts, range(count + 1)) < 0.5)[parts]
    return mask
