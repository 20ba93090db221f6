import io
import struct
import time
import warnings
import zlib

import numpy as np
import promise
import pytest
import torch
from as_files import encoded
from clean_pictures import SCRIBBLE
from PIL import ExifTags, Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy import ndimage

from handwriting import parts
from handwriting.ink import InkError, all_to_form, to_form, to_mnist, to_tamil
from handwriting.pictures import FORMATS
from nbhelpers import shapes
from nbhelpers.tamil import synthetic

SAME = promise.results(
    "A character reads the same from a photo, a scan or a drawing, in any colours and size"
)
NO_CHARACTER = promise.results(
    "Noise, text, filled shapes and blank pages are never taken for a character"
)
REFUSED = promise.hostile("Damaged, huge and misleading pictures are refused in one clear line")

FIVE = [(108, 42), (58, 40), (54, 78), (92, 76), (106, 102), (88, 128), (50, 122)]


def drawn(mode="RGB", paper="white", ink="black", size=(150, 160), shift=(0, 0), pen=11):
    """A five, anti-aliased."""
    large = Image.new("L", (size[0] * 4, size[1] * 4))
    points = [((x + shift[0]) * 4, (y + shift[1]) * 4) for x, y in FIVE]
    ImageDraw.Draw(large).line(points, 255, pen * 4, joint="curve")
    cover = large.resize(size, Image.Resampling.BOX)
    return Image.composite(Image.new(mode, size, ink), Image.new(mode, size, paper), cover)


def far_apart(one, other):
    """Mean absolute difference of two pictures, as a share of the ink; a pixel's shift is none."""
    shifted = [one.int().roll((y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    difference = min((image - other.int()).abs().sum().item() for image in shifted)
    return difference / torch.maximum(one, other).int().sum().item()


@pytest.fixture(scope="module")
def reference():
    return to_mnist(drawn()).normalised


def test_form_is_that_of_mnist():
    steps = to_mnist(drawn())
    digit = steps.normalised
    assert digit.dtype == torch.uint8 and digit.shape == (28, 28)
    rows = (digit > 20).any(1).nonzero()[:, 0]
    assert 19 <= rows[-1] - rows[0] + 1 <= 20  # the box
    mass = digit.float()
    assert abs((mass.sum(1) * torch.arange(28)).sum() / mass.sum() - 14) <= 0.6
    assert steps.ink.shape == (160, 150) and steps.ink[5, 5] == 0 and steps.ink.max() == 255
    assert abs(max(steps.crop.shape) - 100) <= 3
    assert abs(steps.pen - 0.11) < 0.03


def test_form_is_that_of_tamil():
    steps = to_tamil(drawn())
    assert steps.normalised.dtype == torch.uint8 and steps.normalised.shape == (64, 64)
    smaller = to_form(drawn(), "tamil", 48).normalised
    as_in_training = shapes.resized(steps.normalised[None], (48, 48))[0]
    assert (smaller.int() - as_in_training.int()).abs().max() <= 1  # of 255, where halves round
    with pytest.raises(ValueError, match="proportions is 'wide'"):
        to_tamil(drawn(), "wide")


@pytest.mark.parametrize("pen", [9, 12, 15])
@pytest.mark.parametrize("turned", [0, 40, 90, 200])
def test_a_clean_digit_comes_out_nearly_unchanged(pen, turned):
    clean = to_mnist(drawn("L", pen=pen).rotate(turned, fillcolor=255, expand=True)).normalised
    assert far_apart(to_mnist(clean.numpy()).normalised, clean) < 0.12


LETTERS = [content for _, content in synthetic.pictures(writers=1, trials=1)]


@pytest.mark.parametrize("class_id", [0, 11, 77, 81, 141])  # அ ஃ ஷீ கு ம்
def test_a_letter_comes_out_as_the_importer_makes_it(class_id):
    original = Image.open(io.BytesIO(LETTERS[class_id]))
    grey = original.convert("L")
    imported = torch.from_numpy(shapes.placed(ImageOps.invert(grey), 64, "adapted"))
    assert far_apart(to_tamil(original).normalised, imported) < 0.25
    # the same letter with a pen three times as wide, larger, and in a frame
    bold = grey.resize([4 * side for side in grey.size])
    bold = bold.filter(ImageFilter.MinFilter(17))
    framed = Image.new("L", (bold.width + 200, bold.height + 150), 255)
    framed.paste(bold, (60, 90))
    assert far_apart(to_tamil(framed).normalised, imported) < 0.5


def test_dots_are_kept_and_dirt_is_not():
    def with_dot(radius, at):
        picture = drawn(size=(300, 320), shift=(60, 100))
        ImageDraw.Draw(picture).circle(at, radius, "black")
        return to_mnist(picture).crop

    plain = to_mnist(drawn(size=(300, 320), shift=(60, 100))).crop.shape
    assert with_dot(6, (140, 105))[:20].any() and with_dot(6, (140, 105)).shape[0] > plain[0] + 20
    assert with_dot(2, (140, 105)).shape == plain  # a speck
    assert with_dot(6, (290, 10)).shape == plain  # far away


@pytest.mark.parametrize(("pen", "low", "high"), [(2, 1.2, 3), (11, 1.6, 3), (24, 2, 4.2)])
def test_pens_come_out_in_usual_widths(pen, low, high):
    digit = to_mnist(drawn(pen=pen)).normalised.float() / 255
    assert low < digit.sum() / 62 < high  # the five is about 62 pixels long when 20 high


@SAME
@pytest.mark.parametrize(
    "other",
    [
        drawn(paper="black", ink="white"),
        drawn(paper="#fff3d0", ink="#203080"),
        drawn(paper="#80a080", ink="#a08080"),  # of nearly the same grey
        drawn("L"),
        drawn("LA", paper=(255, 255), ink=(0, 255)),
        drawn("RGBA", paper=(0, 0, 0, 0)),
        drawn("RGBA", paper=(255, 255, 255, 0), ink="white"),
        drawn("CMYK", paper=0, ink=(0, 0, 0, 255)),
        drawn().convert("P"), drawn().convert("P").convert("PA"),
        drawn("L").convert("I"), drawn("L").convert("F"), drawn("L").convert("1", dither=0),
        np.array(drawn("L")) > 127,
        Image.fromarray(np.asarray(drawn("L")).astype(np.uint16) * 257),
        drawn(size=(400, 300), shift=(150, 40)),
        drawn(shift=(-44, -36)),  # touches the border
        drawn().crop((40, 30, 118, 138)),
    ],
)  # fmt: skip
def test_the_same_stroke_comes_out_the_same(other, reference):
    assert far_apart(to_mnist(other).normalised, reference) < 0.12


@SAME
@pytest.mark.parametrize("form", [form for form in FORMATS if form != "HEIF"])
def test_files_bytes_and_open_pictures_are_the_same(form, reference, tmp_path):
    path = tmp_path / f"five.{form.lower()}"
    path.write_bytes(encoded(drawn(), form))
    results = [to_mnist(source).normalised for source in (path, str(path), path.read_bytes())]
    with Image.open(path) as picture:
        results.append(to_mnist(picture).normalised)
    assert all(torch.equal(result, results[0]) for result in results)
    assert far_apart(results[0], reference) < 0.06


@SAME
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "stored"), [(3, "ROTATE_180"), (6, "ROTATE_90"), (5, "TRANSPOSE")]
)
def test_a_phone_turned_is_turned_back(form, orientation, stored, reference):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encoded(drawn().transpose(Image.Transpose[stored]), form, exif=exif)
    assert far_apart(to_mnist(content).normalised, reference) < 0.06


@SAME
def test_lines_as_dark_as_the_ink_are_removed(reference):
    picture = drawn(size=(300, 320), shift=(70, 80))
    for y in range(14, 320, 40):
        ImageDraw.Draw(picture).line((0, y, 300, y), "black", 2)
    assert far_apart(to_mnist(picture).normalised, reference) < 0.25


MARKS = {
    "table at the edge": ("polygon", [(0, 0), (50, 0), (40, 400), (0, 400)], "#5a4030"),
    "ring whose ends do not meet": ("arc", (95, 90, 305, 310), 20, 370, "black", 7),
    "ring of a thick pen": ("ellipse", (80, 85, 280, 285), None, "black", 24),
    "underline seen from closer": ("line", (105, 253, 255, 259), "black", 11),
    "hole of a punch": ("circle", (40, 200), 14, "black"),
    "strip of a scan's border": ("line", (4, 50, 4, 340), "black", 4),
    "stamp in a corner": ("rectangle", (330, 20, 372, 60), "black"),
    "brackets": ("text", (95, 95), "(   )", "black", ImageFont.load_default(150)),
    "lines of print": ("text", (20, 280), "\n".join(["print, seen from afar" * 3] * 8), "black"),
    "crossed out": ("line", SCRIBBLE, "black", 5),
}


@pytest.mark.parametrize("mark", MARKS)
def test_marks_around_the_character_are_not_of_it(mark, reference):
    picture = drawn(size=(400, 400), shift=(100, 100))
    draw, *how = MARKS[mark]
    getattr(ImageDraw.Draw(picture), draw)(*how)
    assert far_apart(to_mnist(picture).normalised, reference) < 0.2


def test_a_small_digit_is_found_beside_what_is_left_of_a_desk(reference):
    page = Image.new("RGB", (1200, 1600), "white")
    page.paste(drawn().resize((90, 96)), (600, 500))
    desk = ImageDraw.Draw(page)
    desk.polygon([(0, 0), (50, 0), (20, 1600), (0, 1600)], "#5a4030")
    desk.polygon([(0, 1600), (0, 1570), (1200, 1540), (1200, 1600)], "#5a4030")
    steps = to_mnist(page)
    assert far_apart(steps.normalised, reference) < 0.3
    assert steps.box == pytest.approx((0.52, 0.33, 0.56, 0.365), abs=0.01)


def test_a_finer_look_at_a_large_page_is_the_last():
    assert to_mnist(drawn(size=(900, 1200), shift=(400, 600))).doubt < 0.1  # by the first one 0.2


def test_more_ends_and_loops_than_a_digit_has_are_doubted():
    for arms in (9, 3):
        star = Image.new("L", (300, 300), 255)
        for angle in np.arange(arms) * 2 * np.pi / arms:
            end = 150 + 100 * np.cos(angle), 150 + 100 * np.sin(angle)
            ImageDraw.Draw(star).line((150, 150, *end), 0, 14)
        assert (to_mnist(star).doubt >= 0.35) == (arms > 7)
    steps = 255 - to_mnist(drawn()).normalised.numpy().repeat(6, 0).repeat(6, 1)
    assert to_mnist(steps).doubt < 0.35  # along its edge, as of any enlarged image


def test_three_marks_far_from_each_other_are_one_letter():
    mask = np.zeros((256, 256), bool)
    mask[60:70, 100:160] = mask[150:164, 60:74] = mask[150:164, 180:194] = True
    assert (parts.character(mask)[0] == mask).all()


def test_an_underline_is_found_beside_a_speck():
    mask = np.zeros((256, 256), bool)
    mask[60:160, 100:112] = mask[60:72, 90:100] = True  # a 1
    mask[180:186, 80:140] = mask[215:223, 200:208] = True
    kept, _, _ = parts.character(mask)
    assert kept[100, 105] and not kept[183].any()


def test_a_large_picture_does_not_take_long():
    large = drawn().resize((3750, 4000))
    for form in ("JPEG", "PNG"):
        content = encoded(large, form, **({"compress_level": 1} if form == "PNG" else {}))
        start = time.thread_time()
        to_mnist(content)
        assert time.thread_time() - start < 2


def clouds(random, side, *grains):
    """Noise of one or more grains, in pixels a side, enlarged."""
    small = [Image.fromarray(random.integers(0, 256, (n, n), np.uint8)) for n in grains]
    large = [np.asarray(picture.resize((side, side)), float) for picture in small]
    return np.mean(large, 0).astype(np.uint8)


def fog(random):
    smooth = ndimage.gaussian_filter(random.standard_normal((263, 263)), 40)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def sheet(draw, *how, **options):
    """A sheet of white paper with one drawing."""
    picture = Image.new("L", (400, 300), 255)
    getattr(ImageDraw.Draw(picture), draw)(*how, **options)
    return picture


BLANK, FILLED, MARKS_OF_MANY = "nothing is drawn", "a filled area", r"\d+ separate marks"
ANY = f"{BLANK}|{MARKS_OF_MANY}|{FILLED}|a shadow"
PAGE = "\n".join(["several words of text on a page"] * 9)
NOTHING = {
    "uniform": (ANY, lambda random: random.integers(0, 256, (200, 200, 3), np.uint8)),
    "normal": (ANY, lambda random: random.normal(200, 20, (300, 200)).clip(0, 255).astype("u1")),
    "black and white": (ANY, lambda random: random.random((200, 200)) > 0.5),
    # Once, a mask one pixel wide stopped the program.
    "narrow": (ANY, lambda random: random.integers(0, 256, (28, 28), np.uint8)),
    "dust": (ANY, lambda random: random.random((28, 28)) < 0.06),
    "clouds": (ANY, lambda random: clouds(random, 240, 12)),
    "fog": (ANY, fog),
    "marble": (ANY, lambda random: clouds(random, 256, 4, 8, 16, 32, 64, 128)),
    "light noise": (BLANK, lambda random: random.integers(240, 256, (40, 40), np.uint8)),
    "grey paper": (BLANK, lambda _: Image.new("L", (40, 40), 200)),
    "clear": (BLANK, lambda _: Image.new("RGBA", (40, 40))),
    "gradient": (BLANK, lambda _: np.tile(np.linspace(255, 60, 200).astype("u1"), (150, 1))),
    "square": (f"{FILLED} without strokes", lambda _: sheet("rectangle", (90, 40, 200, 150), 0)),
    "half a sheet": (f"{FILLED}|{BLANK}", lambda _: sheet("rectangle", (0, 0, 199, 300), 0)),
    "words": (MARKS_OF_MANY, lambda _: sheet("text", (20, 99), PAGE[:21], 0, font_size=30)),
    "page": (f"{BLANK}|{MARKS_OF_MANY}", lambda _: sheet("text", (20, 20), PAGE, 0, font_size=20)),
}


@NO_CHARACTER
@pytest.mark.parametrize("kind", NOTHING)
def test_what_is_no_character_is_refused(kind):
    says, make = NOTHING[kind]
    for convert in (to_mnist, to_tamil):
        with pytest.raises(InkError, match=f"the picture: ({says})"):
            convert(make(np.random.default_rng(0)))


@NO_CHARACTER
def test_a_ringed_face_is_not_surely_a_digit():
    picture = Image.new("L", (300, 300), 255)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((60, 60, 240, 240), outline=0, width=6)
    for left in (115, 170):
        draw.ellipse((left, 115, left + 14, 129), 0)
    draw.arc((110, 110, 190, 200), 30, 150, 0, 6)
    assert to_mnist(picture).doubt >= 0.5


def test_bad_paths_are_named(tmp_path):
    with pytest.raises(InkError, match=r"none\.png: no such file"):
        to_mnist(tmp_path / "none.png")
    with pytest.raises(InkError, match="a folder"):
        to_mnist(tmp_path)


@REFUSED
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_truncated_files(form, tmp_path):
    content = encoded(drawn(), form)
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(InkError, match=r"cut: (not a picture, or )?a damaged"):
        to_mnist(tmp_path / "cut")


@REFUSED
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"%PDF-1.7 ...", "a PDF. Export the page as a PNG"),
        (b'<?xml version="1.0"?><svg width="5"/>', "an SVG"),
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "not a picture, or a damaged one"),
    ],
)
def test_what_is_no_picture_is_told_apart(content, says):
    with pytest.raises(InkError, match=says):
        to_mnist(content)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_frames(form):
    frames = [drawn(shift=(shift, 0)) for shift in (0, 10)]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    with pytest.raises(InkError, match="holds 2 pictures"):
        to_mnist(content)


@REFUSED
@pytest.mark.parametrize("side", [7_200, 12_000, 60_000])
def test_a_bomb_is_refused_before_it_is_decoded(side):
    content = bytearray(encoded(drawn()))
    content[16:24] = struct.pack(">II", side, side)  # what the header says
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    limit = Image.MAX_IMAGE_PIXELS
    start = time.thread_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InkError, match="more than 50 million"):
            to_mnist(bytes(content))
    assert time.thread_time() - start < 0.1 and limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros(9), "of shape 9"),
        (np.zeros((2, 20, 20, 3)), "of shape 2 × 20 × 20 × 3"),
        (np.zeros((20, 20), complex), "complex128"),
        *((np.full((20, 20), none), "without NaN") for none in (np.nan, np.inf)),
        (np.full((20, 20), -1.0), "from -1 to -1"),
        (np.zeros((0, 20)), "Expected at least 8"),
        (np.full((1500, 8), 255, np.uint8), "one character"),
        (torch.zeros(1500, 10, dtype=torch.bfloat16), "one character"),
        (Image.new("L", (20, 7)), "Expected at least 8"),
        (None, "a NoneType"),
    ],
)
def test_bad_values(values, says):
    with pytest.raises(InkError, match=says):
        to_mnist(values)


@pytest.mark.parametrize(("number", "margin"), [("42", 0), ("52", 0), ("1754", 3), ("205", 3)])
def test_all_characters_of_a_tight_crop(number, margin):
    picture = Image.new("L", (400, 150), 255)
    ImageDraw.Draw(picture).text((30, 20), " ".join(number), 0, font_size=90)
    left, top, right, bottom = ImageOps.invert(picture).getbbox()
    cut = picture.crop((left - margin, top - margin, right + margin, bottom + margin))
    assert len(all_to_form(cut, "mnist", 28)) == len(number)


def test_hairlines_of_a_large_picture():
    picture = Image.new("L", (700, 700), 255)
    ImageDraw.Draw(picture).line([(60, 60), (640, 60), (300, 640)], 0, 1)
    for form, side in (("mnist", 28), ("tamil", 64)):
        (steps,) = all_to_form(picture, form, side)
        assert 0 < steps.pen < 0.05 and (steps.form > 127).mean() < 0.4
