"""Tamil letters in figures, on machines without a Tamil font.

Tamil needs a font that knows which code points make one letter: க + ி is கி, one shape. No font
that comes with matplotlib has Tamil, so this module builds one from the pen strokes in
`data/tamil_strokes.json`. Matplotlib's text shaping (since 3.11) then does the rest.
"""

import tempfile
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.filterPen import DecomposingFilterPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont, newTable
from fontTools.ttLib.tables._g_l_y_f import Glyph
from fontTools.ttLib.tables.ttProgram import Program
from matplotlib import font_manager, rcParams

from nbhelpers.tamil.alphabet import class_table, pen_strokes

FAMILY = "Tamil pen strokes"
EM = 2048  # units of the font, as in DejaVu Sans
SCALE = 4.9  # of the strokes in the font: Tamil looks as high as Latin
PEN = 160  # in units of the font
DOT = 135  # radius of a dot, in units of the font
# A vowel sign without a letter makes one cluster with what stands before it, as in "(ெ)", and a
# cluster is drawn in one font: ours needs these signs too. It borrows them from DejaVu Sans.
BORROWED = "".join(map(chr, range(0x21, 0x7F))) + "·×–—‘’“”…→"
SHARP = np.radians(50)  # a stroke that turns more than this has a corner


def use_in_plots() -> None:
    """Let every later figure show Tamil letters; all other text stays as it was."""
    _register_font()
    rcParams["font.family"] = ["DejaVu Sans", FAMILY]


@cache
def _register_font() -> tempfile.TemporaryDirectory:
    """Build the font (0.2 s) in a folder that lives as long as this process."""
    folder = tempfile.TemporaryDirectory(prefix="nbhelpers-", ignore_cleanup_errors=True)
    path = Path(folder.name) / "tamil.ttf"
    build_font(path)
    font_manager.fontManager.addfont(path)
    return folder


def build_font(path: Path) -> None:
    """Write a TrueType font with a glyph for each class, and rules that join code points to it.

    It is for single letters. In words, the vowel signs that stand left of their consonant (கெ)
    would come out right of it.
    """
    nothing = TTGlyphPen(None).glyph()
    glyphs = {".notdef": nothing, "space": nothing}
    widths = {".notdef": EM // 3, "space": EM // 3}
    characters = {ord(" "): "space", 0xA0: "space"}
    for number, ((text, _), strokes) in enumerate(zip(class_table(), pen_strokes(), strict=True)):
        name = f"class{number}"
        glyphs[name], widths[name] = _glyph(strokes)
        if len(text) == 1:
            characters[ord(text)] = name
    joined = [(n, text) for n, (text, _) in enumerate(class_table()) if len(text) > 1]
    for character in sorted({ord(c) for _, text in joined for c in text} - characters.keys()):
        name = f"sign{character:X}"  # never alone, but the rules need a glyph to begin from
        characters[character], glyphs[name], widths[name] = name, nothing, 0
    with TTFont(font_manager.findfont("DejaVu Sans")) as latin:
        shapes, names = latin.getGlyphSet(), latin.getBestCmap()
        for character in map(ord, BORROWED):
            name = f"latin{character:X}"
            pen = TTGlyphPen(shapes)
            shapes[names[character]].draw(DecomposingFilterPen(pen, shapes))
            characters[character], glyphs[name] = name, pen.glyph()
            widths[name] = shapes[names[character]].width
    font = FontBuilder(EM, isTTF=True)
    font.setupGlyphOrder(list(glyphs))
    font.setupCharacterMap(characters)
    font.setupGlyf(glyphs)
    font.setupHorizontalMetrics({n: (widths[n], getattr(glyphs[n], "xMin", 0)) for n in glyphs})
    font.setupHorizontalHeader(ascent=EM, descent=-EM // 3)
    font.setupNameTable({"familyName": FAMILY, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    # FreeType hints fonts without a program of their own by itself, which made some letters bold.
    font.font["prep"] = program = newTable("prep")
    program.program = Program()
    program.program.fromBytecode(b"\xb0\x00\x21" * 3)  # push 0, drop it; too short is not enough
    # Rules for the script DFLT, not for Tamil: text shapers do to Tamil more than to other scripts,
    # such as moving vowel signs, also past a space when there is no letter.
    rules = "\n".join(
        f"sub {' '.join(characters[ord(c)] for c in text)} by class{n};" for n, text in joined
    )
    font.addOpenTypeFeatures(f"languagesystem DFLT dflt;\nfeature ccmp {{\n{rules}\n}} ccmp;")
    font.save(path)


def _glyph(strokes: tuple[np.ndarray, ...]) -> tuple[Glyph, int]:
    """Return the TrueType glyph of a letter and its advance width."""
    pen = TTGlyphPen(None)
    placed = [SCALE * stroke + (PEN, 0) for stroke in strokes]
    for stroke in placed:
        for contour in _outlines(stroke):
            first, *others = np.round(contour).astype(int).tolist()
            pen.moveTo(first)
            for point in others:
                pen.lineTo(point)
            pen.closePath()
    return pen.glyph(), round(max(stroke[:, 0].max() for stroke in placed)) + PEN


def _outlines(stroke: np.ndarray) -> list[np.ndarray]:
    """Return what a round pen draws: outlines `[points, 2]`, clockwise; they may overlap."""
    if len(stroke) == 1:
        return [stroke[0] + DOT * _directions(-np.linspace(0, 2 * np.pi, 16, endpoint=False))]
    steps = np.diff(stroke, axis=0)
    headings = np.arctan2(steps[:, 1], steps[:, 0])
    turns = np.abs((np.diff(headings) + np.pi) % (2 * np.pi) - np.pi)
    # Cut at corners: each part is smooth, so its outline does not turn over, and the round ends
    # of two parts make a round corner.
    corners = [0, *(np.flatnonzero(turns > SHARP) + 1), len(stroke) - 1]
    return [_tube(stroke[a : b + 1], np.unwrap(headings[a:b])) for a, b in pairwise(corners)]


def _tube(line: np.ndarray, headings: np.ndarray) -> np.ndarray:
    at_points = np.concatenate([headings[:1], (headings[1:] + headings[:-1]) / 2, headings[-1:]])
    sideways = PEN / 2 * _directions(at_points + np.pi / 2)
    turn = np.linspace(np.pi / 2, -np.pi / 2, 7)[1:-1]
    last = line[-1] + PEN / 2 * _directions(at_points[-1] + turn)
    first = line[0] + PEN / 2 * _directions(at_points[0] + np.pi + turn)
    return np.vstack([line + sideways, last, (line - sideways)[::-1], first])


def _directions(angles: np.ndarray) -> np.ndarray:
    return np.column_stack([np.cos(angles), np.sin(angles)])
