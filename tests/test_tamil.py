"""The importer, on every layout and on every kind of damage.

Damage is done to drawn pictures; the layouts are read with drawn ones and with samples of the real
archive where a mirror has it, else of the synthetic writers.
"""

import io
import os
import re
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import promise
import pytest
import torch
from as_files import letter, mirror_letters, packed
from PIL import Image

from nbhelpers import profile, shapes, tamil
from nbhelpers.data import DataError
from nbhelpers.tamil import archive, read_characters, synthetic

MIRROR = os.environ.get("NBHELPERS_MIRROR")  # each test runs without one
ALIKE = promise.data("HPL Tamil is read alike from every published layout and kind of archive")
NAMED = promise.hostile(
    "A damaged archive is named, and one that climbs out of its folder is not read"
)


LAYOUTS = {
    "competition train": "hpl-train/usr_{w}/{c:03}t{t:02}.tiff",
    "flattened": "all/{c:03}t{t:02}.usr_{w}.tiff",
    "by class": "data/{c:03}/{c:03}u{w:03}t{t:02}.tiff",
    "by Windows, in capitals": "HPL\\USR_{w}\\{c:03}T{t:02}.TIF",
}
RUBBISH = {"all/._154t05.usr_26.tiff": b"\0\5", ".DS_Store": b"x", "a/Thumbs.db": b"x"}


def named(pictures, layout="competition train"):
    return {LAYOUTS[layout].format(w=w, c=c, t=t): pictures[w, c, t] for w, c, t in pictures}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Return ten pictures by what their names tell: writer, class and trial."""
    mirror = Path(MIRROR) / tamil.TRAIN[0].path if MIRROR else None
    if mirror and mirror.is_file():
        with tarfile.open(mirror) as packed:
            members = (m for m in packed if re.search(r"usr_\d+/\d+t\d+\.tiff$", m.name))
            found = {m.name: packed.extractfile(m).read() for m in islice(members, 10)}
    else:
        found = dict(synthetic.pictures(writers=2, trials=1, classes=5))
    numbers = re.compile(r"usr_(\d+)/(\d+)t(\d+)\.tiff$")
    return {tuple(map(int, numbers.search(name).groups())): found[name] for name in found}


@ALIKE
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_every_layout_gives_the_same(tmp_path, capsys, samples, layout, kind):
    path = packed(tmp_path / f"letters.{kind}", named(samples, layout) | RUBBISH)
    read = read_characters(path, 48)
    assert "3 files that are no images were skipped" in capsys.readouterr().out
    assert read.writers.tolist() == [w for w, _, _ in sorted(samples)]
    assert read.labels.tolist() == [c for _, c, _ in sorted(samples)]
    assert read.images.shape == (10, 48, 48) and read.images.dtype == torch.uint8
    for key, size, image in zip(sorted(samples), read.sizes, read.images, strict=True):
        with Image.open(io.BytesIO(samples[key])) as picture:
            assert picture.mode == "1" and [picture.height, picture.width] == size.tolist()
        assert image.max() == 255 and 0.01 < image.float().mean() / 255 < 0.5
    same = read_characters(packed(tmp_path / "same.tar.gz", named(samples)), 48)
    assert torch.equal(read.images, same.images)


def numbered_files(truth="00000 0\n00001 154\n00002 42\n"):
    files = {f"test/{i:05}.tiff": letter(mark=8 * i) for i in range(3)}
    return files | {"test/ground_truth.txt": truth.encode()}


@ALIKE
@pytest.mark.parametrize("truth", ["0 0\n1 154\n2 42\n", "\ufeff00002.TIF 042\r\n0 000\n1 154"])
def test_competition_test_layout(tmp_path, truth):
    read = read_characters(packed(tmp_path / "numbered.zip", numbered_files(truth)), 32)
    assert read.labels.tolist() == [0, 154, 42]
    assert read.writers is None


def test_shape_is_kept_and_the_character_is_centred(tmp_path):
    files = {"usr_1/000t01.tiff": letter(200, 50)}
    image = read_characters(packed(tmp_path / "letters.zip", files), 64, "kept").images[0].numpy()
    rows, columns = (np.flatnonzero((image > 127).any(axis)) for axis in (1, 0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert width / height == pytest.approx(190 / 40, rel=0.1)
    assert abs(rows.mean() - 31.5) <= 1 and abs(columns.mean() - 31.5) <= 1
    assert len(np.unique(image)) > 3, "anti-aliased"


BAD = {
    "an unreadable image": ({"usr_1/000t01.tiff": letter()[:60]}, "000t01.tiff: an unreadable"),
    "no image at all": ({"usr_1/000t01.tiff": b"hello"}, "000t01.tiff: an unreadable"),
    "an unknown class": ({"usr_1/156t01.tiff": letter()}, "unknown class 156. Expected 000 to"),
    "a name without a class": ({"usr_1/letter.tiff": letter()}, "the name tells no class"),
    "numbers without truth": ({"00000.tiff": letter()}, r"missing .*without a line: \[0\]"),
    "a truth too short": (numbered_files("0 0\n1 154\n"), r"without a line: \[2\]"),
    "a truth too long": (numbered_files("0 0\n1 1\n2 2\n3 3\n"), r"without an image: \[3\]"),
    "a truth of another kind": (numbered_files("class,file\n"), "is not a line of the form"),
    "an unknown class in the truth": (numbered_files("0 200\n"), "unknown class 200"),
    "nothing": ({"readme.txt": b"hello"}, "holds no images"),
    "a path that climbs out": ({"../usr_1/000t01.tiff": letter()}, "climb out of the folder"),
    "an absolute path": ({"/usr_1/000t01.tiff": letter()}, "climb out of the folder"),
    "a huge file": ({"usr_1/000t01.tiff": bytes(archive.MOST_FILE_BYTES + 1)}, "than 1,000,000"),
    "too many files": ({f"{i}.tiff": letter() for i in range(7)}, "more than 6 files"),
    "a picture bomb": ({"usr_1/000t01.tiff": letter(2_001, 2_000)}, "2001 × 2000 pixels"),
}


@NAMED
@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_bad_input_has_one_clear_error(tmp_path, monkeypatch, what, kind):
    monkeypatch.setattr(archive, "MOST_FILES", 6)
    files, message = BAD[what]
    source = packed(tmp_path / f"letters.{kind}", files)
    with pytest.raises(DataError, match=message) as caught:
        read_characters(source, 32)
    assert str(source) in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name], "nothing is unpacked"


@NAMED
@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_archives_that_are_truncated_or_none_at_all(tmp_path, kind):
    files = {"usr_7/000t01.tiff": letter(), "noise.bin": os.urandom(50_000)}
    path = packed(tmp_path / f"letters.{kind}", files)
    for content in (path.read_bytes()[:-20_000], b"hello"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged archive"):
            read_characters(path, 32)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        read_characters(path)


@NAMED
def test_links_in_an_archive_are_not_followed(tmp_path):
    path = packed(tmp_path / "linked.tar.gz", {}, [tarfile.SYMTYPE, tarfile.LNKTYPE])
    with pytest.raises(DataError, match="holds no images"):
        read_characters(path)


def test_damaged_images_with_a_ground_truth(tmp_path, monkeypatch):
    path = packed(tmp_path / "letters.zip", numbered_files() | {"test/00001.tiff": b""})
    with pytest.raises(DataError, match="1 of the 3 images"):
        read_characters(path, 32)
    monkeypatch.setenv("NBHELPERS_DAMAGED", "skip")
    assert read_characters(path, 32).labels.tolist() == [0, 42]


def test_thin_and_fat_pens_come_out_alike():
    thin, fat = (Image.new("L", (64, 64)) for _ in range(2))
    thin.paste(60, (10, 30, 54, 31))
    fat.paste(255, (10, 30, 54, 33))
    lines = [shapes.even_pen(picture)[:, 32] / 255 for picture in (thin, fat)]
    assert all(line.max() > 0.95 for line in lines)
    widths = [line.sum() for line in lines]
    assert 0.4 < widths[0] / widths[1] < 1
    assert not shapes.even_pen(Image.new("L", (64, 64))).any(), "a blank picture stays blank"


def test_adapted_proportions_leave_narrow_letters_more_room():
    assert shapes.fitted((120, 30), 60) == (60, 15)
    width, height = shapes.fitted((120, 30), 60, "adapted")
    assert width == 60
    assert 15 < height < 60
    assert shapes.fitted((30, 120), 60, "adapted") == (height, width)  # alike for high and wide
    assert shapes.fitted((50, 50), 60, "adapted") == (60, 60)  # a square stays one
    assert shapes.fitted((500, 1), 60) == (60, 1)  # never nothing


@promise.data("No image stands in two splits; Tamil writers in training and validation differ")
def test_both_splits_from_a_mirror(tmp_path, monkeypatch, capsys):
    """Of 12 writers to learn from, and 24 pictures without writers."""
    keys = [(w, c, t) for w in range(1, 13) for c in (0, 1) for t in (1, 2)]
    pictures = {key: letter(90 + key[0], 60, mark=8 * key[1]) for key in keys}
    train = {f"train/usr_{w}/{c:03}t{t:02}.tiff": pictures[w, c, t] for w, c, t in keys}
    test = {f"test/{i:05}.tiff": pictures[key] for i, key in enumerate(keys[::4] + keys[2::4])}
    truth = "".join(f"{i:05} {i // 12}\n" for i in range(24))
    test |= {"test/ground_truth.txt": truth.encode()}
    mirror_letters(tmp_path / "mirror", monkeypatch, TRAIN=train, TEST=test)
    official = tamil.tamil(profile.current(), side=32)
    cited = [f"hpl-tamil/{part}.tar.gz: please cite" for part in ("TRAIN", "TEST")]
    assert capsys.readouterr().out.splitlines() == cited, "when they are fetched"
    assert official.source == "full" and official.test.writers is None
    apart = [set(split.writers.tolist()) for split in (official.train, official.validation)]
    assert not apart[0] & apart[1] and len(apart[0] | apart[1]) == 12
    assert official.test.labels.tolist() == [0] * 12 + [1] * 12

    mixed = tamil.tamil(profile.current(), side=32, split="random")
    assert capsys.readouterr().out == "", "the second time nothing is fetched"
    parts = [getattr(mixed, part) for part in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [53, 5, 14]
    writers = torch.cat([part.writers for part in parts])
    assert (writers == tamil.UNKNOWN).sum() == 24, "the test images, whose names tell no writer"
    with pytest.raises(ValueError, match="Expected 'official' or 'random'"):
        tamil.tamil(profile.current(), split="fair")
