"""HPL Tamil: 156 handwritten characters, read from every layout in which people have them.

Source: HP Labs India, isolated handwritten Tamil characters, http://lipitk.sourceforge.net/
datasets/tamilchardata.htm; its official split is that of the IWFHR 2006 competition. For research
use only; see `data/README.md`.
"""

from __future__ import annotations

import errno
import io
import re
import shutil
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, ImageChops, UnidentifiedImageError
from sklearn.model_selection import GroupShuffleSplit

from nbhelpers import data, shapes, sources
from nbhelpers.data import DataError, Dataset, Split
from nbhelpers.profile import Profile
from nbhelpers.tamil import synthetic
from nbhelpers.tamil.alphabet import CLASSES, class_table

UNKNOWN = -1  # the writer or the trial of an image whose name does not tell it

# Limits that no honest archive comes near; the real ones hold 51,000 files of 2 kB.
MOST_FILES = 200_000
MOST_FILE_BYTES = 1_000_000
MOST_PIXELS = 4_000_000

_HOMES = (
    "http://shiftleft.com/mirrors/www.hpl.hp.com/india/research/penhw-resources/",
    "https://raw.githubusercontent.com/Seenivasanseeni/TamilCharacterRecognition/master/Datasets/",
)


def _archives(name: str, git_blob: str, repacked: str) -> tuple[sources.Archive, sources.Archive]:
    """Return the archive as HP Labs publish it, and the same images repacked, for mirrors."""
    published = f"{name}.tar.gz"
    urls = tuple(home + published for home in _HOMES)
    return (
        sources.Archive(f"hpl-tamil/{name}.tar.xz", f"sha256:{repacked}", ()),
        sources.Archive(f"hpl-tamil/{published}", f"git-blob:{git_blob}", urls),
    )


TRAIN = _archives(
    "hpl-tamil-iwfhr06-train-offline",
    "6c575f4833ae2cd8293c5c460b8f7993b589b5f8",
    "69d2c6cc707ccf78ed82c0e5e92b7d760020e9a55889928ac1341694bd9bcd3b",
)
TEST = _archives(
    "hpl-tamil-iwfhr06-test-offline",
    "09cd8aeed231904226d2be4a96353c98915f1a0b",
    "732060072ec43790d1d290d7d0ad6f3bcacd1a39114719b5c8c9fae34755184b",
)
CITATION = (
    "HPL Tamil is for research use only: do not pass it on. Please cite HP Labs India, Isolated "
    "Handwritten Tamil Character dataset, http://lipitk.sourceforge.net/datasets/tamilchardata.htm"
)


@dataclass(frozen=True)
class Characters:
    """What an archive or a folder holds, ordered by writer, class and trial.

    Attributes:
        images: uint8 `[n, side, side]`; 0 is paper, 255 is ink.
        labels: int64 `[n]`, 0 to 155.
        writers: int64 `[n]`; -1 where the names do not tell.
        sizes: int32 `[n, 2]`, height and width of the original pictures in pixels.
        skipped: how many files were no images (`._*`, `.DS_Store`, `Thumbs.db` and other).
        damaged: str `[k]`, images that are left out: where they lie, and what is wrong with them.
    """

    images: np.ndarray
    labels: np.ndarray
    writers: np.ndarray
    sizes: np.ndarray
    skipped: int
    damaged: np.ndarray = field(default_factory=lambda: np.array([], np.str_))

    def __getitem__(self, rows: np.ndarray) -> Characters:
        """Return the characters at `rows`."""
        arrays = (self.images, self.labels, self.writers, self.sizes)
        return Characters(*(array[rows] for array in arrays), self.skipped, self.damaged)


# ---------------------------------------------------------------------------------- the data set


def tamil(
    run: Profile, side: int = 64, split: str = "official", proportions: str = "kept"
) -> Dataset:
    """Return HPL Tamil as three splits of square images.

    `official`: the competition's test split, whose 26,926 images come from writers of their own;
    its training split is divided so that validation, too, has writers of its own (one in ten).
    `random`: 80 % / 20 % of all 77,609 images whoever wrote them, a tenth of the 80 % for
    validation; only to compare with numbers published on such a split. Images of the competition's
    test split have writer -1 there. NBHELPERS_DAMAGED=skip leaves damaged images out.

    Args:
        run: decides how many images are used.
        side: of the images, in pixels.
        split: `official` or `random`.
        proportions: of the letters, `kept` or `adapted`; see `shapes.fitted`.

    Raises:
        ValueError: `split` or `proportions` is neither; and what `characters` raises.
    """
    if split not in ("official", "random"):
        raise ValueError(f"split is {split!r}. Expected 'official' or 'random'.")
    *parts, source = characters(side, proportions)
    learn, test = map(_split, parts)
    # Rows are divided, not images: those are copied once, and only the ones that this run uses.
    rows = torch.arange(len(learn) + len(test)).split([len(learn), len(test)])
    if split == "official":
        test = replace(test, images=rows[1])
        train, validation = split_by_writer(replace(learn, images=rows[0]), 0.1, run.seed)
    else:
        everything = Split(
            torch.cat(rows),
            torch.cat([learn.labels, test.labels]),
            learn.classes,
            torch.cat([_writers(learn), _writers(test)]),
        )
        rest, test = data.stratified_split(everything, len(everything) // 5, run.seed)
        train, validation = data.stratified_split(rest, len(rest) // 10, run.seed)
    name = "HPL Tamil" if split == "official" else "HPL Tamil, random split"
    cut = data.sized(Dataset(name, source, train, validation, test), run)
    images = [torch.from_numpy(part.images) for part in parts]
    filled = {
        part: replace(getattr(cut, part), images=_taken(images, getattr(cut, part).images))
        for part in ("train", "validation", "test")
    }
    return replace(cut, **filled)


def _writers(split: Split) -> torch.Tensor:
    return split.writers if split.writers is not None else torch.full((len(split),), UNKNOWN)


def _taken(images: list[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    """Return the images at `rows` of two tensors, numbered through, without joining these."""
    first, second = images
    taken = torch.empty(len(rows), *first.shape[1:], dtype=first.dtype)
    for target, some in zip(taken.split(4096), rows.split(4096), strict=True):
        of_first = some < len(first)
        target[of_first] = first[some[of_first]]
        target[~of_first] = second[some[~of_first] - len(first)]
    return taken


def characters(side: int = 64, proportions: str = "kept") -> tuple[Characters, Characters, str]:
    """Return what there is to learn from, what to test on, and where they come from.

    The source is `full` for the competition's two parts. Where neither cache, mirror nor internet
    has them, synthetic writers stand in, under a banner, and the source is `sample`.

    Args:
        side: of the images, in pixels.
        proportions: of the letters, `kept` or `adapted`; see `shapes.fitted`.

    Raises:
        ValueError: `proportions` is neither.
        DataError: an archive is damaged, or images in it are and NBHELPERS_DAMAGED is not `skip`.
        SourceError: the real data is not to be had and NBHELPERS_SAMPLE is `never`.
    """
    mode = sources.sample_mode()
    try:
        if mode == "always":
            raise sources.Unavailable("NBHELPERS_SAMPLE is set to always")
        learn, test = (_imported(fetch(part), side, proportions) for part in (TRAIN, TEST))
    except sources.Unavailable as error:
        if mode == "never":
            raise
        data.banner(str(error))
        return *_synthetic(side, proportions), "sample"
    return learn, test, "full"


def split_by_writer(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Divide `split` so that `share` of its writers, drawn at random, are held out with all images.

    Raises:
        ValueError: the writers are not known.
    """
    if split.writers is None:
        raise ValueError("These images do not tell who wrote them.")
    rest, held = map(torch.from_numpy, _rows_by_writer(split.writers, share, seed))
    return split[rest], split[held]


def _rows_by_writer(
    writers: np.ndarray | torch.Tensor, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    divide = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    return next(divide.split(writers, groups=writers))


def fetch(part: tuple[sources.Archive, ...]) -> Path:
    """Return the path of a verified archive of `TRAIN` or `TEST`, getting it if need be.

    Raises:
        Unavailable: no source has any of its archives; lists what each answered.
    """
    if path := cached(part):
        return path
    answers = []
    for archive in part:
        try:
            path = sources.fetch(archive)
        except sources.Unavailable as error:
            answers.append(str(error))
        else:
            _print_citation()
            return path
    raise sources.Unavailable("\n".join(answers))


def cached(part: tuple[sources.Archive, ...]) -> Path | None:
    """Return the path of the archive of `TRAIN` or `TEST` that is here and verified, if any."""
    for archive in part:
        if sources.has_checksum(sources.cached_path(archive), archive.checksum):
            return sources.cached_path(archive)
    return None


@cache
def _print_citation() -> None:
    """Print the licence and what to cite, once a process however many archives it fetches."""
    print(CITATION)


def _split(characters: Characters) -> Split:
    writers = torch.from_numpy(characters.writers)
    return Split(
        torch.from_numpy(characters.images),
        torch.from_numpy(characters.labels),
        tuple(text for text, _ in class_table()),
        None if (writers == UNKNOWN).all() else writers,
    )


def _imported(archive: Path, side: int, proportions: str) -> Characters:
    """Read an archive, or what an earlier reading has kept."""
    shapes.check_proportions(proportions)
    kept = archive.with_name(f"{archive.name}.{side}px-{proportions}-even.npz")
    characters = _kept(kept, archive)
    try:
        if not characters:
            with FileLock(f"{kept}.lock"):  # one process reads, others wait for it
                characters = _kept(kept, archive)
                if not characters:
                    characters = read_characters(archive, side, proportions)
                    with sources.written(kept) as unfinished, unfinished.open("wb") as file:
                        np.savez(file, **vars(characters))
    except OSError as error:  # a full disk, or one that can only be read: nothing is lost
        print(f"{sources.cannot_write(kept, error)} Until then, each run reads the archive anew.")
    return characters or read_characters(archive, side, proportions)


def _kept(kept: Path, archive: Path) -> Characters | None:
    """Return what an earlier reading of the archive has kept, if it has."""
    if not kept.exists() or kept.stat().st_mtime < archive.stat().st_mtime:
        return None
    try:
        with np.load(kept) as arrays:
            characters = Characters(**{name: arrays[name] for name in arrays})
    except Exception:  # a damaged copy, which numpy and zipfile have many errors for
        return None
    data.leave_out(archive, characters.damaged, len(characters.labels))
    return characters


def _synthetic(side: int, proportions: str) -> tuple[Characters, Characters]:
    """Return synthetic writers to learn from, and others to test on: one in five."""

    folder = sources.data_folder() / "downloads" / "hpl-tamil" / f"synthetic-{synthetic.edition()}"
    if not folder.exists():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                _write_synthetic(folder)
        except OSError as error:
            raise sources.WriteError(sources.cannot_write(folder, error)) from error
    everything = _imported(folder, side, proportions)
    rest, held = _rows_by_writer(everything.writers, 0.2, seed=0)
    return everything[rest], everything[held]


def _write_synthetic(folder: Path) -> None:

    if folder.exists():  # another process has just done it
        return
    print("Writing Tamil letters by synthetic writers, once: about 15 seconds")
    unfinished = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        synthetic.write_synthetic_writers(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


# ---------------------------------------------------------------------------------- the importer

_NUMBER = "[0-9]{1,9}"  # longer ones would not fit into an array
_END = r"\.tiff?$"
_LAYOUTS = (  # what stands in the path of an image: class, writer, trial
    re.compile(
        rf"(?:^|/)usr_(?P<writer>{_NUMBER})/(?P<label>{_NUMBER})t(?P<trial>{_NUMBER}){_END}"
    ),
    re.compile(
        rf"(?:^|/)(?P<label>{_NUMBER})t(?P<trial>{_NUMBER})\.usr_(?P<writer>{_NUMBER}){_END}"
    ),
    re.compile(rf"(?:^|/)(?P<label>{_NUMBER})u(?P<writer>{_NUMBER})t(?P<trial>{_NUMBER}){_END}"),
)
_NUMBERED = re.compile(rf"(?:^|/)(?P<number>{_NUMBER}){_END}")
_GROUND_TRUTH = "ground_truth.txt"


def read_characters(source: Path | str, side: int = 64, proportions: str = "kept") -> Characters:
    """Read the images of an archive (`.tar.gz`, `.tar.xz`, `.zip`) or a folder, in any layout.

    The layouts: `usr_<writer>/<class>t<trial>.tiff` · `<class>t<trial>.usr_<writer>.tiff` ·
    `<class>u<writer>t<trial>.tiff` · `<number>.tiff` with a `ground_truth.txt` of
    `<number> <class>` lines. Nothing is unpacked to disk. Each image is fitted into the square, its
    strokes made equally wide and dark: `shapes.placed`.

    Args:
        source: an archive or a folder.
        side: of the squares, in pixels.
        proportions: of the letters, `kept` or `adapted`; see `shapes.fitted`.

    Raises:
        ValueError: `proportions` is neither.
        DataError: there is no such file, the archive is damaged, tries to climb out of the folder
            or is far too large; an image is of no known class or layout; the ground truth does not
            fit the images; there are no images; images are damaged and NBHELPERS_DAMAGED is not
            `skip`.
    """
    source = Path(source)
    shapes.check_proportions(proportions)
    items: list[_Item] = []
    numbered: dict[int, _Item] = {}
    truth: dict[int, int] | None = None
    damaged: list[str] = []
    damaged_numbers: set[int] = set()
    skipped = 0
    for name, content in _files(source):
        where, base = f"{source}: {name}", PurePosixPath(name).name
        if base == _GROUND_TRUTH:
            truth = _ground_truth(where, content)
            continue
        if base.startswith("._") or not _is_image(name):
            skipped += 1
            continue
        match = next(filter(None, (layout.search(name) for layout in _LAYOUTS)), None)
        number = _NUMBERED.search(name)
        if not match and not number:
            raise DataError(
                f"{where}: the name tells no class. Expected for example usr_26/154t05.tiff, "
                "154t05.usr_26.tiff, 154u026t05.tiff or 00042.tiff."
            )
        label = _class(match["label"], where) if match else UNKNOWN
        try:
            square = _square(content, side, proportions)
        except _Damaged as error:
            damaged.append(f"{name}: {error}")
            damaged_numbers |= {int(number["number"])} if number else set()
            continue
        if match:
            writer = int(match["writer"])
            items.append(_Item((writer, label, int(match["trial"])), label, writer, *square))
        else:
            order = int(number["number"])
            numbered[order] = _Item((order,), label, UNKNOWN, *square)
    if numbered:
        for number in damaged_numbers - numbered.keys():
            (truth or {}).pop(number, None)
        items += _with_truth(numbered, truth, source)
    data.leave_out(source, damaged, len(items))
    if not items:
        raise DataError(f"{source}: holds no images of Tamil characters (*.tiff).")
    if skipped:
        print(f"{source.name}: {skipped:,} files that are no images were skipped")
    items.sort(key=lambda item: item.order)
    return Characters(
        np.stack([item.image for item in items]),
        np.array([item.label for item in items], np.int64),
        np.array([item.writer for item in items], np.int64),
        np.array([item.size for item in items], np.int32),
        skipped,
        np.array(damaged, np.str_),
    )


class _Damaged(Exception):
    """An image cannot be read."""


class _Item(NamedTuple):
    order: tuple[int, ...]  # where it stands among the others, whatever the archive's order
    label: int
    writer: int
    image: np.ndarray
    size: tuple[int, int]


def _with_truth(
    numbered: dict[int, _Item], truth: dict[int, int] | None, source: Path
) -> list[_Item]:
    if truth is None:
        raise DataError(f"{source}: numbered images, but no {_GROUND_TRUTH} that names classes.")
    if numbered.keys() != truth.keys():
        without, unused = (
            sorted(one.keys() - other.keys())[:3]
            for one, other in ((numbered, truth), (truth, numbered))
        )
        raise DataError(
            f"{source}: {_GROUND_TRUTH} does not fit the images: {len(numbered):,} images, "
            f"{len(truth):,} lines; images without a line {without}, "
            f"lines without an image {unused}."
        )
    return [item._replace(label=truth[number]) for number, item in numbered.items()]


def _ground_truth(name: str, content: bytes) -> dict[int, int]:
    truth = {}
    for line in content.decode("ascii", errors="replace").split("\n"):
        if not line.strip():
            continue
        match = re.fullmatch(rf"\s*({_NUMBER})(?:\.tiff?)?\s+({_NUMBER})\s*", line)
        if not match:
            said = repr(line if len(line) < 80 else line[:77] + "…")
            raise DataError(f"{name}: cannot read the line {said}. Expected '<number> <class>'.")
        truth[int(match[1])] = _class(match[2], name)
    return truth


def _class(digits: str, name: str) -> int:
    label = int(digits)
    if label >= CLASSES:
        raise DataError(f"{name}: unknown class {digits}. Expected 000 to {CLASSES - 1}.")
    return label


def _is_image(name: str) -> bool:
    return name.lower().endswith((".tif", ".tiff"))


def _files(source: Path) -> Iterator[tuple[str, bytes | None]]:
    """Yield name and content of each regular file; raise DataError for what cannot be trusted.

    The content of an image that is far too large is None: it is not read.
    """
    count = 0
    try:
        for name, size, read in _listed(source):
            name = name.encode(errors="backslashreplace").decode()  # so that it can be printed
            count += 1
            if count > MOST_FILES:
                raise DataError(
                    f"{source}: more than {MOST_FILES:,} files; this is no HPL archive."
                )
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise DataError(f"{source}: {name!r} would climb out of the folder; not read.")
            if size <= MOST_FILE_BYTES:
                yield name, read()
            elif _is_image(name):
                yield name, None
            else:
                raise DataError(
                    f"{source}: {name} has {size:,} bytes, more than {MOST_FILE_BYTES:,}; not read."
                )
    except (DataError, MemoryError):
        raise
    except Exception as error:  # what reads and unpacks archives raises errors of many kinds
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # a disk or a permission, not the archive
        raise DataError(
            f"{source}: damaged archive ({error}). Delete it and fetch it again."
        ) from None


def _listed(source: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Yield name, size in bytes and a reader of each regular file, in the order of the archive."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                yield path.relative_to(source).as_posix(), path.stat().st_size, path.read_bytes
    elif not source.is_file():
        raise DataError(f"{source}: no such file or folder.")
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, info.file_size, partial(archive.read, info)
    else:
        with tarfile.open(source) as archive:
            for member in archive:
                if member.isfile():
                    yield member.name, member.size, archive.extractfile(member).read
                archive.members = []  # a tar file remembers every member it has read


def _square(
    content: bytes | None, side: int, proportions: str
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the image as uint8 `[side, side]`, ink on paper, and its original (height, width)."""
    if content is None:
        raise _Damaged(f"more than {MOST_FILE_BYTES:,} bytes; not read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on details: what matters raises an error
            with Image.open(io.BytesIO(content), formats=("TIFF",)) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    size = f"{picture.width} × {picture.height} pixels"
                    raise _Damaged(f"{size}; not read")
                grey = ImageChops.invert(picture.convert("L"))
    except (_Damaged, MemoryError):
        raise
    except UnidentifiedImageError:
        raise _Damaged("an unreadable image (not a TIFF)") from None
    except Exception as error:  # Pillow's decoders raise what they stumble over, of any kind
        raise _Damaged(f"an unreadable image ({error})") from None
    return shapes.placed(grey, side, proportions), (grey.height, grey.width)
