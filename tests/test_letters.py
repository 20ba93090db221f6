"""Tamil letters in figures, without any Tamil font; and the strokes they are made of."""

import csv
import warnings

import numpy as np
import pytest
from matplotlib import font_manager, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nbhelpers.sources import project_folder
from nbhelpers.tamil import alphabet, font

TEXTS = [text for text, _ in alphabet.class_table()]
VOWELS = {"": "a", "ி": "i", "ீ": "ī", "ு": "u", "ூ": "ū", "்": ""}
PAIRS = """
    க:k ங:ṅ ச:c ஞ:ñ ட:ṭ ண:ṇ த:t ந:n ப:p ம:m ய:y ர:r ல:l வ:v ழ:ḻ ள:ḷ ற:ṟ ன:ṉ
    ஸ:s ஷ:ṣ ஜ:j ஹ:h க்ஷ:kṣ
"""
CONSONANTS = dict(pair.split(":") for pair in PAIRS.split())


@pytest.fixture(autouse=True)
def no_tamil_fonts(monkeypatch):
    """Hide the machine's fonts: only matplotlib's own are left."""
    own = [f for f in font_manager.fontManager.ttflist if "mpl-data" in f.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    font._register_font.cache_clear()
    with rc_context():
        font.use_in_plots()
        yield
    font._register_font.cache_clear()  # else later tests find it registered, but not listed


def drawn(text, size=14):
    """Ink of a text in a figure, float `[height, width]`; a missing glyph is an error."""
    figure = Figure(figsize=(2, 1), dpi=72)
    canvas = FigureCanvasAgg(figure)
    figure.text(0.1, 0.4, text, fontsize=size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        canvas.draw()
    return 1 - np.asarray(canvas.buffer_rgba())[..., 0] / 255


def test_every_class_draws_a_letter_of_its_own():
    pictures = [drawn(text) for text in TEXTS]
    assert all(picture.sum() > 3 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == len(TEXTS)


def test_a_letter_of_several_code_points_is_one_glyph():
    inks = {text: np.flatnonzero(drawn(text, 30).any(0)) for text in ("ஸ்ரீ", "கு", "க")}
    widths = {text: np.ptp(columns) for text, columns in inks.items()}
    assert widths["கு"] < 1.5 * widths["க"]
    assert widths["ஸ்ரீ"] < 3 * widths["க"]


@pytest.mark.parametrize(
    "text",
    ["ெ as ே 0.93", "(ெ)", "க் (ெ), ே: ை", "1ெ", "ா–ெ → “ை”", "க்ஷீ as ா\n0.2", "ெ (e-)"],
)
def test_captions_around_letters(text):
    """Vowel signs alone join what stands before them to a cluster, which must not get lost."""
    assert drawn(text).sum() > 5


def test_latin_text_stays_as_it_was():
    with_tamil = drawn("Accuracy, fi, 0.93")
    with rc_context({"font.family": ["DejaVu Sans"]}):
        assert np.array_equal(drawn("Accuracy, fi, 0.93"), with_tamil)


def test_strokes_are_sound():
    strokes = alphabet.pen_strokes()
    assert len(strokes) == len(TEXTS) == 156
    for text, letter in zip(TEXTS, strokes, strict=True):
        points = np.vstack(letter)
        assert np.ptp(points, axis=0).max() > 80, text
        assert np.abs(points).max() <= 1000, text
        dots = sum(len(stroke) == 1 for stroke in letter)
        assert dots == (2 if text == "ஈ" else text.endswith("்")), text


def test_transliteration_is_made_of_consonant_and_vowel():
    table = dict(alphabet.class_table())
    assert len(set(table.values())) == 156
    for consonant, latin in CONSONANTS.items():
        for sign, vowel in VOWELS.items():
            assert table[consonant + sign] == latin + vowel
    assert len(table) - len(CONSONANTS) * len(VOWELS) == 13 + 4 + 1  # vowels, bare signs, śrī


def test_class_table_is_in_order():
    path = project_folder() / "data" / "tamil_classes.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["class_id"]) for row in rows] == list(range(156))
    for row in rows:
        assert "".join(chr(int(point, 16)) for point in row["codepoints"].split()) == row["text"]


def test_names():
    assert alphabet.named("கி") == "கி (ki)"
    with pytest.raises(ValueError, match="'x' is none of the 156 Tamil classes"):
        alphabet.transliteration("x")
