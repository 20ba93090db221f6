"""Drawings that a reader of the course keeps: one PNG file each, under the label it was given.

They lie in `data/mine/<form>/<label>/0001.png`, or below `NBHELPERS_DATA`; git ignores them and
`make clean` leaves them alone. The folder decides the label: to correct one, move the file.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from PIL import Image

from handwriting import ink, pictures
from nbhelpers import shapes, sources
from nbhelpers.data import Split, leave_out

SUFFIXES = (".png", ".jpg", ".jpeg")  # of drawings, and of photos that were put beside them
_PLAIN = re.compile(r"[a-z0-9]{1,20}")  # the same on file systems that ignore case


def keep(png: bytes, label: str, form: str, folder: Path | None = None) -> Path:
    """Write a drawing to the next free number of its label; return where it lies.

    Nothing is ever overwritten, also where several programs keep drawings at once. The label is
    what is drawn, such as `7` or `கி`, and the form `mnist` or `tamil`. The folder of all drawings
    is by default `mine` in the data folder.

    Raises:
        ValueError: the label is empty, or the form unknown.
        InkError: the bytes are no picture, or nothing is drawn on it.
        WriteError: the folder cannot be written to, or the disk is full.
    """
    if not label.strip():
        raise ValueError("The label is empty. Expected the character that is drawn, such as '7'.")
    place = _folder(form, folder) / _name(label)
    picture = pictures.from_bytes(png, "The drawing")
    _prepared(picture, form)  # says so where it is damaged or nothing is drawn
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock"):
            names = (path.name.split(".")[0] for path in place.iterdir())
            taken = [int(name) for name in names if name.isascii() and name.isdigit()]
            path = place / f"{max(taken, default=0) + 1:04}.png"
            with sources.written(path) as unfinished:
                picture.save(unfinished, format="PNG")
    except OSError as error:
        raise sources.WriteError(sources.cannot_write(place, error)) from error
    return path


def load(form: str, classes: Sequence[str], folder: Path | None = None) -> Split:
    """Return all drawings of a form, prepared as for a model; an empty split if there are none.

    The images are uint8 `[n, side, side]`, with the side of the form; the labels int64 `[n]`,
    indices into `classes`, which are such as `reader.card.classes`.

    Raises:
        ValueError: the form is unknown.
        DataError: files cannot be read, nothing is drawn on them, or their label is none of
            `classes`, and NBHELPERS_DAMAGED is not `skip`; counts and names them.
    """
    root = _folder(form, folder)
    images, labels, broken = [], [], []
    known = {_name(label): number for number, label in enumerate(classes)}
    for path in sorted(root.glob("*/[!.]*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.parent.name not in known:
            broken.append(f"{path}: its folder is {path.parent.name!r}, which is no class.")
            continue
        try:
            images.append(_prepared(path, form))
            labels.append(known[path.parent.name])
        except ValueError as error:  # an InkError names the file
            broken.append(str(error))
    leave_out(
        root, broken, len(images), "Delete or replace them, move them to the folder of their label"
    )
    side = shapes.FORMS[form].side
    stacked = torch.stack(images) if images else torch.zeros(0, side, side, dtype=torch.uint8)
    return Split(stacked, torch.tensor(labels, dtype=torch.int64), tuple(classes))


def _folder(form: str, folder: Path | None) -> Path:
    shapes.form(form)
    return (sources.data_folder() / "mine" if folder is None else Path(folder)) / form


def _prepared(picture: Path | Image.Image, form: str) -> torch.Tensor:
    return ink.to_form(picture, form, shapes.FORMS[form].side).normalised


def _name(label: str) -> str:
    """Return the folder of a label: itself where any file system takes it, else its code points."""
    if _PLAIN.fullmatch(label):
        return label
    return "U+" + "-".join(f"{ord(character):04X}" for character in label)
