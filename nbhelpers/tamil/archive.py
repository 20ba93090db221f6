"""HPL Tamil: 156 handwritten characters, read from every layout in which people have them.

Source: HP Labs India, isolated handwritten Tamil characters, http://lipitk.sourceforge.net/
datasets/tamilchardata.htm; its official split is that of the IWFHR 2006 competition. For research
use only; see `data/README.md`.
"""

from __future__ import annotations

import errno
import io
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


def _archives(part: str, git_blob: str, repacked: str) -> tuple[sources.Archive, ...]:
    """Return the same images repacked, for mirrors, and the archive as HP Labs publish it."""
    name = f"hpl-tamil-iwfhr06-{part}-offline.tar"
    return (
        sources.Archive(f"hpl-tamil/{name}.xz", f"sha256:{repacked}", ()),
        sources.Archive(
            f"hpl-tamil/{name}.gz", f"git-blob:{git_blob}", tuple(f"{h}{name}.gz" for h in _HOMES)
        ),
    )


TRAIN = _archives(
    "train",
    "6c575f4833ae2cd8293c5c460b8f7993b589b5f8",
    "69d2c6cc707ccf78ed82c0e5e92b7d760020e9a55889928ac1341694bd9bcd3b",
)
TEST = _archives(
    "test",
    "09cd8aeed231904226d2be4a96353c98915f1a0b",
    "732060072ec43790d1d290d7d0ad6f3bcacd1a39114719b5c8c9fae34755184b",
)
CITATION = (
    "HPL Tamil is for research use only: do not pass it on. Please cite HP Labs India, Isolated "
    "Handwritten Tamil Character dataset, http://lipitk.sourceforge.net/datasets/tamilchardata.htm"
)


@dataclass(frozen=True)
class Characters:
    """What an archive or a folder holds, ordered by writer, class and trial."""

    images: np.ndarray  # uint8 [n, side, side]; 0 is paper, 255 is ink
    labels: np.ndarray  # int64 [n], 0 to 155
    writers: np.ndarray  # int64 [n]; UNKNOWN where the names do not tell
    sizes: np.ndarray  # int32 [n, 2], height and width of the original pictures in pixels
    skipped: int  # how many files were no images (`._*`, `.DS_Store`, `Thumbs.db` and other)
    damaged: np.ndarray  # str [k], images that are left out: where they lie, what is wrong

    def __getitem__(self, rows: np.ndarray) -> Characters:
        """Return the characters at `rows`."""
        arrays = (self.images, self.labels, self.writers, self.sizes)
        return Characters(*(array[rows] for array in arrays), self.skipped, self.damaged)


# ---------------------------------------------------------------------------------- the data set


def tamil(
    run: Profile, side: int = 64, split: str = "official", proportions: str = "kept"
) -> Dataset:
    """Return HPL Tamil as three splits of square images, `side` pixels wide and high.

    `official`: the competition's test split, whose 26,926 images come from writers of their own;
    its training split is divided so that validation, too, has writers of its own (one in ten).
    `random`: 80 % / 20 % of all 77,609 images whoever wrote them, a tenth of the 80 % for
    validation; only to compare with numbers published on such a split. Images of the competition's
    test split have writer -1 there. The proportions of letters are `kept` or `adapted`: see
    `shapes.fitted`. NBHELPERS_DAMAGED=skip leaves damaged images out.

    Raises:
        ValueError: `split` or `proportions` is neither; and what `characters` raises.
    """
    if split not in ("official", "random"):
        raise ValueError(f"split is {split!r}. Expected 'official' or 'random'.")
    *parts, source = characters(side, proportions)
    labels, writers = (
        torch.from_numpy(np.concatenate([getattr(part, name) for part in parts]))
        for name in ("labels", "writers")
    )
    if split == "official":
        divided = _rows_by_writer(parts[0].writers, 0.1, run.seed)
        train, validation = map(torch.from_numpy, divided)
        test = torch.arange(len(parts[0].labels), len(labels))
    else:
        rest, test = data.stratified_rows(labels, len(labels) // 5, run.seed)
        chosen = data.stratified_rows(labels[rest], len(rest) // 10, run.seed)
        train, validation = (rest[rows] for rows in chosen)
    splits = {}
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        rows = rows[data.subset_rows(labels[rows], run.size(name), run.seed)]
        known = writers[rows] if (writers[rows] != UNKNOWN).any() else None
        images = _taken(*(torch.from_numpy(part.images) for part in parts), rows)
        splits[name] = Split(images, labels[rows], tuple(t for t, _ in class_table()), known)
    name = "HPL Tamil" if split == "official" else "HPL Tamil, random split"
    return Dataset(name, source, **splits)


def _taken(first: torch.Tensor, second: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return the images at `rows` of two tensors, numbered through, without joining these."""
    taken = torch.empty(len(rows), *first.shape[1:], dtype=first.dtype)
    for target, some in zip(taken.split(4096), rows.split(4096), strict=True):
        of_first = some < len(first)
        target[of_first] = first[some[of_first]]
        target[~of_first] = second[some[~of_first] - len(first)]
    return taken


def characters(side: int = 64, proportions: str = "kept") -> tuple[Characters, Characters, str]:
    """Return what there is to learn from, what to test on, and where they come from.

    The source is `full` for the competition's two parts. Where neither cache, mirror nor internet
    has them, synthetic writers stand in, under a banner, and the source is `sample`. Images have
    `side` pixels along each side; for `proportions` see `shapes.fitted`.

    Raises:
        ValueError: `proportions` is neither.
        DataError: an archive is damaged, or images in it are and NBHELPERS_DAMAGED is not `skip`.
        SourceError: the real data is not to be had and NBHELPERS_SAMPLE is `never`.
    """
    mode = sources.mode("NBHELPERS_SAMPLE")
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


def _rows_by_writer(writers: np.ndarray, share: float, seed: int) -> list[np.ndarray]:
    """Return the rows of most writers, and of the `share` that is held out with all they wrote."""
    divide = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    return list(next(divide.split(writers, groups=writers)))


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
            _print_once(CITATION)
            return path
    raise sources.Unavailable("\n".join(answers))


def cached(part: tuple[sources.Archive, ...]) -> Path | None:
    """Return the path of the archive of `TRAIN` or `TEST` that is here and verified, if any."""
    paths = ((sources.cached_path(archive), archive.checksum) for archive in part)
    return next((path for path, checksum in paths if sources.has_checksum(path, checksum)), None)


_print_once = cache(print)  # however many archives a process fetches


def _imported(archive: Path, side: int, proportions: str) -> Characters:
    """Read an archive, or what an earlier reading has kept."""
    shapes.check_proportions(proportions)
    kept = archive.with_name(f"{archive.name}.{side}px-{proportions}-even.npz")
    characters = None
    try:
        if not (characters := _kept(kept, archive)):
            with FileLock(f"{kept}.lock"):  # one process reads, others wait for it
                if not (characters := _kept(kept, archive)):
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


def _synthetic(side: int, proportions: str) -> list[Characters]:
    """Return synthetic writers to learn from, and others to test on: one in five."""
    folder = sources.data_folder() / "downloads" / "hpl-tamil"
    path = folder / f"synthetic-{synthetic.edition()}.zip"
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not path.exists():  # no other process has just done it
                    _write_synthetic(path)
        except OSError as error:
            raise sources.WriteError(sources.cannot_write(path, error)) from error
    everything = _imported(path, side, proportions)
    return [everything[rows] for rows in _rows_by_writer(everything.writers, 0.2, seed=0)]


def _write_synthetic(path: Path) -> None:
    print("Writing Tamil letters by synthetic writers, once: about 20 seconds")
    with sources.written(path) as unfinished, zipfile.ZipFile(unfinished, "w") as packed:
        for name, content in synthetic.pictures():
            packed.writestr(name, content)


# ---------------------------------------------------------------------------------- the importer

_LAYOUTS = tuple(  # what stands in the path of an image
    re.compile(rf"(?:^|/){layout.replace('N', '[0-9]{1,9}')}\.tiff?$")  # longer ones fit no array
    for layout in (
        "usr_(?P<writer>N)/(?P<label>N)t(?P<trial>N)",
        r"(?P<label>N)t(?P<trial>N)\.usr_(?P<writer>N)",
        "(?P<label>N)u(?P<writer>N)t(?P<trial>N)",
        "(?P<number>N)",
    )
)
_GROUND_TRUTH = "ground_truth.txt"


def read_characters(source: Path | str, side: int = 64, proportions: str = "kept") -> Characters:
    """Read the images of an archive (`.tar.gz`, `.tar.xz`, `.zip`) or a folder, in any layout.

    The layouts: `usr_<writer>/<class>t<trial>.tiff` · `<class>t<trial>.usr_<writer>.tiff` ·
    `<class>u<writer>t<trial>.tiff` · `<number>.tiff` with a `ground_truth.txt` of
    `<number> <class>` lines. Nothing is unpacked to disk. Each image is fitted into a square of
    `side` pixels, its proportions `kept` or `adapted`, its strokes made equally wide and dark: see
    `shapes.placed`.

    Raises:
        ValueError: `proportions` is neither.
        DataError: there is no such file, the archive is damaged, tries to climb out of the folder
            or is far too large; an image is of no known class or layout; the ground truth does not
            fit the images; there are no images; images are damaged and NBHELPERS_DAMAGED is not
            `skip`.
    """
    source = Path(source)
    shapes.check_proportions(proportions)
    letters: list[_Letter] = []
    numbered: dict[int, _Letter | None] = {}  # None where the image is damaged
    truth, damaged, skipped = None, [], 0
    for name, content in _files(source):
        base = PurePosixPath(name).name
        if base == _GROUND_TRUTH:
            truth = _ground_truth(f"{source}: {name}", content)
        elif base.startswith("._") or not _is_image(name):
            skipped += 1
        else:
            order, label, writer = _told(name, source)
            try:
                letter = _Letter(order, label, writer, *_square(content, side, proportions))
            except _Damaged as error:
                letter = None
                damaged.append(f"{name}: {error}")
            if label == UNKNOWN:
                numbered[order[0]] = letter or numbered.get(order[0])
            elif letter:
                letters.append(letter)
    if any(numbered.values()):
        letters += _with_truth(numbered, truth, source)
    data.leave_out(source, damaged, len(letters))
    if not letters:
        raise DataError(f"{source}: holds no images of Tamil characters (*.tiff).")
    if skipped:
        print(f"{source.name}: {skipped:,} files that are no images were skipped")
    letters.sort(key=lambda letter: letter.order)
    _, labels, writers, images, sizes = zip(*letters, strict=True)
    labels, writers = np.array([labels, writers], np.int64)
    sizes, names = np.array(sizes, np.int32), np.array(damaged, np.str_)
    return Characters(np.stack(images), labels, writers, sizes, skipped, names)


class _Damaged(Exception):
    """An image cannot be read."""


class _Letter(NamedTuple):
    order: tuple[int, ...]  # where it stands among the others, whatever the archive's order
    label: int
    writer: int
    image: np.ndarray
    size: tuple[int, int]


def _told(name: str, source: Path) -> tuple[tuple[int, ...], int, int]:
    """Return what the name of an image tells: its place among the others, class and writer."""
    found = next(filter(None, (layout.search(name) for layout in _LAYOUTS)), None)
    if not found:
        raise DataError(
            f"{source}: {name}: the name tells no class. Expected for example usr_26/154t05.tiff, "
            "154t05.usr_26.tiff, 154u026t05.tiff or 00042.tiff."
        )
    if "number" in found.re.groupindex:
        return (int(found["number"]),), UNKNOWN, UNKNOWN
    label, writer = _class(found["label"], f"{source}: {name}"), int(found["writer"])
    return (writer, label, int(found["trial"])), label, writer


def _with_truth(
    numbered: dict[int, _Letter | None], truth: dict[int, int] | None, source: Path
) -> list[_Letter]:
    """Return the numbered letters that are not damaged, with the classes of the ground truth."""
    if truth is None:
        raise DataError(f"{source}: numbered images, but no {_GROUND_TRUTH} that names classes.")
    whole = {number: letter for number, letter in numbered.items() if letter}
    without, unused = sorted(whole.keys() - truth.keys()), sorted(truth.keys() - numbered.keys())
    if without or unused:
        raise DataError(
            f"{source}: {_GROUND_TRUTH} does not fit the images. Images without a line: "
            f"{without[:3]}; lines without an image: {unused[:3]}."
        )
    return [letter._replace(label=truth[number]) for number, letter in whole.items()]


def _ground_truth(name: str, content: bytes) -> dict[int, int]:
    truth = {}
    for line in filter(str.strip, content.decode("ascii", errors="replace").split("\n")):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:\.tiff?)?\s+([0-9]{1,9})\s*", line)
        if not match:
            raise DataError(f"{name}: {line[:80]!r} is not a line of the form '<number> <class>'.")
        truth[int(match[1])] = _class(match[2], name)
    return truth


def _class(digits: str, name: str) -> int:
    if (label := int(digits)) >= CLASSES:
        raise DataError(f"{name}: unknown class {digits}. Expected 000 to {CLASSES - 1}.")
    return label


def _is_image(name: str) -> bool:
    return name.lower().endswith((".tif", ".tiff"))


def _files(source: Path) -> Iterator[tuple[str, bytes | None]]:
    """Yield name and content of each regular file; raise DataError for what cannot be trusted.

    The content of an image that is far too large is None: it is not read.
    """
    try:
        for count, (name, size, read) in enumerate(_listed(source)):
            name = name.encode(errors="backslashreplace").decode()  # so that it can be printed
            if count == MOST_FILES:
                raise DataError(f"{source}: more than {count:,} files; this is no HPL archive.")
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise DataError(f"{source}: {name!r} would climb out of the folder; not read.")
            if size > MOST_FILE_BYTES and not _is_image(name):
                raise DataError(f"{source}: {name} has {size:,} bytes, which is too many.")
            yield name, read() if size <= MOST_FILE_BYTES else None
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
        for path in filter(Path.is_file, sorted(source.rglob("*"))):
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
