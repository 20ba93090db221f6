"""What must hold for every input, tried on inputs that hypothesis makes up.

`make test` tries a few, the same each time; `HYPOTHESIS_PROFILE=thorough` tries many new ones.
"""

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import warnings
from pathlib import Path

import numpy as np
import promise
import pytest
import torch
from as_files import drawing, encoded, letter, packed
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from test_data import idx
from test_pad import reader

from handwriting import ink, mine, pad, paper
from handwriting.ink import InkError
from nbhelpers import data, sources, tamil, training
from nbhelpers.data import DataError
from nbhelpers.tamil import alphabet

settings.register_profile(
    "ci", max_examples=40, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
settings.register_profile(
    "thorough", settings.get_profile("ci"), max_examples=2_000, derandomize=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

pytestmark = pytest.mark.filterwarnings("error", "ignore:Duplicate name")  # in a zip
BYTES = st.integers(0, 255)


@st.composite
def damaged(draw, content):
    """Draw what may become of a file: cut off, a changed byte, bytes too many, another file."""
    place = draw(st.integers(0, max(0, len(content) - 1)))
    match draw(st.sampled_from(["cut", "changed", "inserted", "other"])):
        case "cut":
            return content[:place]
        case "changed" if content:
            changed = bytearray(content)
            changed[place] ^= draw(st.integers(1, 255))
            return bytes(changed)
        case "inserted":
            return content[:place] + draw(st.binary(min_size=1, max_size=40)) + content[place:]
    return draw(st.binary(max_size=200))


SHAPES = st.lists(st.integers(0, 6), min_size=1, max_size=3).map(tuple)


@given(SHAPES, st.integers(0, 9), st.data())
@promise.hostile("A damaged data file is one clear error, whatever the damage")
def test_idx_files_come_back_or_are_refused(tmp_path, shape, seed, draw):
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(values)))
    assert np.array_equal(data.read_idx(path, shape), values)
    where = draw.draw(st.sampled_from(["archive", "content"]))
    if where == "archive":
        content = draw.draw(damaged(path.read_bytes()))
    else:
        content = gzip.compress(draw.draw(damaged(idx(values))))
    path.write_bytes(content)
    try:
        read = data.read_idx(path, shape)
    except DataError as error:
        assert "images.gz" in str(error)
    else:
        assert read.shape == shape and read.dtype == np.uint8
        assert where == "content" or np.array_equal(read, values)


PICTURE = letter(30, 20)
EVIL = ["../../x/000t01.tiff", "/etc/usr_1/000t01.tiff", "usr_1/../../000t01.tiff", "..", "/",
        "C:\\usr_1\\000t01.tiff", "usr_1/000t99999999999999999999.tiff", "9" * 5_000 + ".tiff",
        "usr_١/000t01.tiff", "usr_1/155t01.tiff/", "usr_1/000t01.tiff\n",
        "ground_truth.txt"]  # fmt: skip
NAMES = st.one_of(
    st.builds("usr_{}/{:03}t{:02}.tiff".format, st.integers(1, 3), st.integers(0, 157), BYTES),
    st.builds("test/{:05}.tiff".format, st.integers(0, 3)),
    st.sampled_from(EVIL),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)
TRUTH = b"0 5\n1 6\n2 7\n3 8\n"
CONTENTS = st.sampled_from([PICTURE, TRUTH, b""]) | damaged(PICTURE)
LINKS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]


def everything_outside(inside):
    paths = (path for path in inside.parents[2].rglob("*") if inside not in path.parents)
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


@promise.hostile("A damaged data file is one clear error, whatever the damage")
@promise.hostile("A data archive cannot write outside the data folder, whatever it holds")
@pytest.mark.parametrize("name", ["letters.tar.gz", "letters.zip"])
@given(
    files=st.lists(st.tuples(NAMES, CONTENTS), max_size=4),
    links=st.lists(st.sampled_from(LINKS), max_size=3),
    draw=st.data(),
)
def test_archives_are_read_or_refused(monkeypatch, name, files, links, draw):
    monkeypatch.setenv("NBHELPERS_DAMAGED", draw.draw(st.sampled_from(["stop", "skip"])))
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "a" / "b" / "data"
        inside.mkdir(parents=True)
        monkeypatch.setenv("NBHELPERS_DATA", str(inside))
        monkeypatch.setenv("NBHELPERS_MIRROR", folder)
        mirrored = packed(Path(folder) / name, files, links)
        if draw.draw(st.booleans()):
            mirrored.write_bytes(draw.draw(damaged(mirrored.read_bytes())))
        before = everything_outside(inside)
        digest = hashlib.sha256(mirrored.read_bytes()).hexdigest()
        path = sources.fetch(sources.Archive(name, f"sha256:{digest}", ()))
        try:
            read = tamil.read_characters(path, 16)
        except DataError as error:
            assert str(path) in str(error) and str(error).encode()
        else:
            count = len(read.labels)
            assert read.images.shape == (count, 16, 16) and read.images.dtype == torch.uint8
            assert count and 0 <= read.labels.min() <= read.labels.max() < alphabet.CLASSES
            assert len(read.sizes) == count
            assert read.writers is None or len(read.writers) == count
        assert everything_outside(inside) == before
        left = {file.name for file in (inside / "downloads").iterdir() if file.is_file()}
        assert left <= {name, f"{name}.lock"}, "nothing is unpacked"


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))


@promise.hostile("A checkpoint comes back as it was saved, or as one clear error")
@given(st.integers(0, 99), PLAIN, st.data())
def test_checkpoints_come_back_or_are_refused(tmp_path, seed, value, draw):
    path, generator = tmp_path / "state", torch.Generator().manual_seed(seed)
    weights = torch.rand(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last)
    training.save_checkpoint(path, {"weights": weights, 0: [value, (value, 1)]})
    damage = draw.draw(st.booleans())
    if damage:
        path.write_bytes(draw.draw(damaged(path.read_bytes())))
    try:
        read = training.load_checkpoint(path)
    except training.CheckpointError as error:
        assert damage and str(path) in str(error) and "Delete it" in str(error)
    else:  # what changed, if anything, stood between the parts
        assert torch.equal(read["weights"], weights)
        assert read["weights"].stride() == weights.stride()
        assert repr(read[0]) == repr([value, (value, 1)])


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"]


@st.composite
def pictures(draw):
    """Draw a picture of any size: noise, strokes, stripes, spots or a gradient, in any mode."""
    long, short = draw(st.sampled_from([(300, 300), (600, 12), (60, 60), (12, 12)]))
    size = [draw(st.integers(1, long)), draw(st.integers(1, short))]
    size = size[::-1] if draw(st.booleans()) else size
    random = np.random.default_rng(draw(st.integers(0, 999)))
    paper, dark = draw(BYTES), draw(BYTES)
    image = Image.new("L", size, paper)
    pen = ImageDraw.Draw(image)
    for _ in range(draw(st.integers(0, 4))):
        corners = (random.random((draw(st.integers(2, 5)), 2)) * size).ravel().tolist()
        pen.line(corners, dark, draw(st.integers(1, 30)))
    values = np.asarray(image, np.float32)
    match draw(st.sampled_from(["plain", "noise", "gradient", "stripes", "spots"])):
        case "noise":
            values = values + random.normal(0, draw(st.integers(1, 80)), values.shape)
        case "gradient":
            values = values + np.linspace(0, draw(BYTES), values.shape[1])
        case "stripes":
            values[:: draw(st.integers(2, 20))] = dark
        case "spots":
            values = np.where(random.random(values.shape) < 0.02, dark, values)
    image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    mode = draw(st.sampled_from(MODES))
    if mode in ("LAB", "HSV"):
        return Image.merge(mode, [image] * 3)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    return image.convert(mode)


def check(make):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            steps = make()
        except InkError as error:
            assert len(str(error)) < 300
            return
        finally:
            assert not said, "nothing but the error reaches the screen"
    side = len(steps.normalised)
    assert steps.normalised.shape == (side, side) and steps.normalised.dtype == torch.uint8
    assert steps.normalised.max() > 100, "there is ink"
    assert steps.ink.dtype == steps.crop.dtype == torch.uint8
    assert max(steps.ink.shape) <= paper.WORKING and min(steps.crop.shape) >= 1
    assert 0 < steps.pen <= 1


@promise.hostile("Any picture is read or refused with a reason, and never a crash")
@settings(max_examples=2 * settings.default.max_examples)
@given(pictures(), st.sampled_from(["mnist", "tamil"]), st.sampled_from([28, 48, 64]))
def test_any_picture_is_read_or_refused(image, form, side):
    check(lambda: ink.to_form(image, form, side))


DRAWN = Image.open(io.BytesIO(drawing()))
FILES = {
    kind: encoded(DRAWN, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
}


@promise.hostile("Any picture is read or refused with a reason, and never a crash")
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damaged_files_are_read_or_refused(kind, draw):
    content = draw.draw(damaged(FILES[kind]))
    check(lambda: ink.to_mnist(content))


JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=4
)
MESSAGES = JSON | st.fixed_dictionaries(
    {"kind": st.sampled_from(["picture", "keep", "next"]) | JSON},
    optional={"label": st.text() | JSON, "source": JSON, "view": JSON, "number": JSON},
)
BUFFERS = st.lists(st.just(drawing()) | damaged(drawing()), max_size=2)


@promise.hostile("Whatever the drawing pad is sent, it answers and keeps working")
@given(MESSAGES, BUFFERS)
def test_the_pad_answers_whatever_it_is_sent(content, buffers):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        widget = pad.Pad(reader(), folder=root / "a" / "mine")
        sent = []
        widget.send = sent.append
        widget._handle_custom_msg(content, [memoryview(one) for one in buffers])
        (answer,) = sent
        assert answer["kind"] in ("answer", "kept", "done")
        assert [path.name for path in root.iterdir()] in ([], ["a"])


@example(["..", "/", "a/b", "A", "a", "CON ", "U+0B95", "க"])
@given(st.lists(st.text(min_size=1), unique=True))
def test_any_label_has_a_folder_of_its_own(labels):
    names = [mine._name(label) for label in labels]
    assert len({name.lower() for name in names}) == len(labels)  # on every file system
    assert set("".join(names)) <= set("abcdefghijklmnopqrstuvwxyz0123456789U+ABCDEF-")
