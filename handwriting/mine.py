"""Drawings that a reader of the course keeps: one PNG file each, under the label it was given.

They lie in `data/mine/<form>/<label>/0001.png`, or below `NBHELPERS_DATA`; git ignores them and
`make clean` leaves them alone. The folder decides the label: to correct one, move the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, PngImagePlugin

from nbhelpers import sources

if TYPE_CHECKING:
    import torch

    from nbhelpers.data import Split

FORMS = {"mnist": 28, "tamil": 64}  # the side of the images that models of each form get

_PLAIN = re.compile(r"[a-z0-9]{1,20}")  # the same on file systems that ignore case


def folder_of(form: str, folder: Path | None = None) -> Path:
    """Return where drawings of a form are kept.

    Args:
        form: `mnist` or `tamil`.
        folder: of all kept drawings, by default `mine` in the data folder.

    Raises:
        ValueError: `form` is neither.
    """
    if form not in FORMS:
        raise ValueError(f"form is {form!r}. Expected 'mnist' or 'tamil'.")
    return (sources.data_folder() / "mine" if folder is None else Path(folder)) / form


def keep(png: bytes, label: str, form: str, folder: Path | None = None) -> Path:
    """Write a drawing to the next free number of its label; return where it lies.

    Nothing is ever overwritten, also where several programs keep drawings at once. The label and
    the form stand in the file as text, too.

    Args:
        png: the content of a picture file.
        label: what is drawn, such as `7` or `கி`.
        form: `mnist` or `tamil`.
        folder: as for `folder_of`.

    Raises:
        ValueError: the label is empty, or the form unknown.
        InkError: the bytes are no picture, or nothing is drawn on it.
        WriteError: the folder cannot be written to, or the disk is full.
    """
    from handwriting import ink

    if not label.strip():
        raise ValueError("The label is empty. Expected the character that is drawn, such as '7'.")
    target_folder = folder_of(form, folder) / _name(label)
    picture = ink.from_bytes(png, "The drawing")
    _prepared(picture, form, FORMS[form])  # says so where it is damaged or nothing is drawn
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Label", label)
    text.add_itxt("Form", form)
    try:
        return _numbered(target_folder, picture, text)
    except OSError as error:
        raise sources.WriteError(sources.cannot_write(target_folder, error)) from error


def _numbered(folder: Path, picture: Image.Image, text: PngImagePlugin.PngInfo) -> Path:
    """Write `picture` to the next free number in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(_highest(folder) + 1):
        path = folder / f"{number:04}.png"
        unfinished = path.with_name(f"{path.name}.part")
        try:
            file = unfinished.open("xb")  # fails if another program has just taken this number
        except FileExistsError:
            continue
        try:
            with file:
                if path.exists():  # it has even finished
                    continue
                picture.save(file, format="PNG", pnginfo=text)
            unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path


def load(
    form: str, classes: Sequence[str], folder: Path | None = None, side: int | None = None
) -> Split:
    """Return all drawings of a form, prepared as for a model; an empty split if there are none.

    Args:
        form: `mnist` or `tamil`.
        classes: the text of each class, such as `reader.card.classes`.
        folder: as for `folder_of`.
        side: of the images, in pixels; by default 28 for `mnist`, 64 for `tamil`.

    Returns:
        images uint8 `[n, side, side]`, labels int64 `[n]`: indices into `classes`.

    Raises:
        ValueError: the form is unknown, or `mnist` is asked for with another side than 28.
        DataError: files cannot be read, nothing is drawn on them, or their label is none of
            `classes`, and NBHELPERS_DAMAGED is not `skip`; counts and names them.
    """
    import torch

    from nbhelpers.data import Split, leave_out

    root = folder_of(form, folder)
    side = side or FORMS[form]
    if form == "mnist" and side != FORMS[form]:
        raise ValueError(f"side is {side}. Images of the form 'mnist' have {FORMS[form]}.")
    positions = {text: i for i, text in enumerate(classes)}
    images, labels, broken = [], [], []
    for path in _files(root):
        label = _label(path.parent.name)
        if label not in positions:
            broken.append(f"{path}: its folder names {label or 'no label'!r}, which is no class.")
            continue
        try:
            images.append(_prepared(path, form, side))
            labels.append(positions[label])
        except ValueError as error:  # an InkError names the file
            broken.append(str(error))
    leave_out(
        root, broken, len(images), "Delete or replace them, move them to the folder of their label"
    )
    stacked = torch.stack(images) if images else torch.zeros(0, side, side, dtype=torch.uint8)
    return Split(stacked, torch.tensor(labels, dtype=torch.int64), tuple(classes))


def _prepared(picture: Path | Image.Image, form: str, side: int) -> torch.Tensor:
    from handwriting import ink, models

    return ink.to_form(picture, form, side, models.PROPORTIONS[form]).normalised


def _files(root: Path) -> Iterator[Path]:
    """Yield the drawings in order; hidden files and unfinished ones are none."""
    for path in sorted(root.glob("*/*.png")):
        if not path.name.startswith("."):
            yield path


def _highest(folder: Path) -> int:
    """Return the highest number that is taken, by an unfinished file too."""
    names = (path.name.split(".")[0] for path in folder.iterdir())
    return max((int(name) for name in names if name.isascii() and name.isdigit()), default=0)


def _name(label: str) -> str:
    """Return the folder of a label: itself where any file system takes it, else its code points."""
    if _PLAIN.fullmatch(label):
        return label
    return "U+" + "-".join(f"{ord(character):04X}" for character in label)


def _label(name: str) -> str | None:
    """Return the label of a folder, or None: the inverse of `_name`."""
    if not name.startswith("U+"):
        return name if _PLAIN.fullmatch(name) else None
    try:
        return "".join(chr(int(code, 16)) for code in name[2:].split("-"))
    except (ValueError, OverflowError):
        return None
