"""Drawings that a learner keeps."""

import io
import os
import subprocess
import sys

import promise
import pytest
import torch
from as_files import drawing
from PIL import Image
from source import IN_GIT, ROOT, lay
from test_pad import LETTERS

from handwriting import mine
from handwriting.ink import InkError
from nbhelpers.data import DIGITS, DataError


def test_what_is_kept_is_read_back(tmp_path):
    kept = [mine.keep(drawing(), label, "mnist", tmp_path) for label in ("1", "7", "1")]
    assert [path.relative_to(tmp_path).as_posix() for path in kept] == [
        "mnist/1/0001.png", "mnist/7/0001.png", "mnist/1/0002.png",
    ]  # fmt: skip
    split = mine.load("mnist", DIGITS, tmp_path)
    assert split.labels.tolist() == [1, 1, 7] and split.classes == DIGITS
    assert split.images.dtype == torch.uint8 and split.images.shape == (3, 28, 28)
    assert split.images.amax((1, 2)).min() > 200  # ink is 255
    assert not list(tmp_path.rglob("*.part"))


def test_tamil_labels_in_the_path(tmp_path):
    empty = mine.load("tamil", LETTERS, tmp_path)
    assert empty.images.shape == (0, 64, 64) and empty.images.dtype == torch.uint8
    assert len(empty) == 0 and empty.labels.dtype == torch.int64
    path = mine.keep(drawing(), "கி", "tamil", tmp_path)
    assert path.parent.name == "U+0B95-0BBF"
    split = mine.load("tamil", LETTERS, tmp_path)
    assert split.images.shape == (1, 64, 64)
    assert split.labels.tolist() == [LETTERS.index("கி")]


def test_numbers_are_never_used_again(tmp_path):
    first = mine.keep(drawing(), "3", "mnist", tmp_path)
    (first.parent / "0007.png").write_bytes(drawing())
    (first.parent / "0008.png.part").touch()  # another program is at it, or was killed
    content = first.read_bytes()
    assert mine.keep(drawing((10, 10, 90, 30)), "3", "mnist", tmp_path).name == "0009.png"
    assert first.read_bytes() == content


def test_two_processes_at_once(tmp_path):
    (tmp_path / "drawing.png").write_bytes(drawing())
    program = (
        "import os, sys; from pathlib import Path; from handwriting import mine; "
        "folder = Path(sys.argv[1]); png = (folder / 'drawing.png').read_bytes(); "
        "getattr(os, 'fork', int)(); "  # both import only once, where there is a fork
        "names = [mine.keep(png, '5', 'mnist', folder).name for _ in range(15)]; "
        "sys.stdout.write(' '.join(names) + '\\n')"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    count = 1 if hasattr(os, "fork") else 2
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(count)]
    names = [name for one in both for name in one.communicate(timeout=120)[0].split()]
    assert len(names) == len(set(names)) == 30
    assert len(mine.load("mnist", DIGITS, tmp_path)) == 30


def test_photos_put_beside_them_count(tmp_path):
    place = mine.keep(drawing(), "4", "mnist", tmp_path).parent
    with Image.open(io.BytesIO(drawing())) as picture:
        for name in ("IMG_0001.JPG", "photo.jpeg", "SCAN.PNG"):
            picture.save(place / name)
    lay(place, {"notes.txt": "", ".hidden.jpg": ""})
    assert mine.load("mnist", DIGITS, tmp_path).labels.tolist() == [4] * 4


@promise.hostile(
    "Damaged images are counted and named, and training goes on without them only if told to"
)
def test_broken_files_are_named_and_counted(tmp_path, monkeypatch, capsys):
    for label in ("1", "2", "3"):
        mine.keep(drawing(), label, "mnist", tmp_path)
    lay(tmp_path / "mnist", {"2/0001.png": drawing()[:60], "x/0001.png": drawing()})
    with pytest.raises(DataError) as error:
        mine.load("mnist", DIGITS, tmp_path)
    said = str(error.value)
    assert said.startswith("2 of the 4 images")
    assert "0001.png" in said and "'x', which is no class" in said and "Delete" in said
    assert "DAMAGED=skip" in said
    monkeypatch.setenv("NBHELPERS_DAMAGED", "skip")
    assert mine.load("mnist", DIGITS, tmp_path).labels.tolist() == [1, 3]
    assert "are left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("png", "label", "form", "kind", "said"),
    [
        (b"no picture", "1", "mnist", InkError, "not a picture"),
        (drawing((200, 200, 200, 200)), "1", "mnist", InkError, "nothing is drawn"),
        (drawing(), " ", "mnist", ValueError, "label is empty"),
        (drawing(), "1", "latin", ValueError, "Expected 'mnist' or 'tamil'"),
    ],
)
def test_what_cannot_be_kept(tmp_path, png, label, form, kind, said):
    with pytest.raises(kind, match=said):
        mine.keep(png, label, form, tmp_path)
    assert not list(tmp_path.rglob("*.p*"))


@IN_GIT
def test_git_ignores_them_and_make_clean_leaves_them():
    command = ["git", "check-ignore", "-q", "data/mine/mnist/1/0001.png"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    removed = makefile.split("\nclean:")[1].split("rm -rf")[1].splitlines()[0]
    assert "data" not in removed
