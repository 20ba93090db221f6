"""HPL Tamil: 156 handwritten characters, read from every layout in which people have them.

Source: HP Labs India, isolated handwritten Tamil characters, http://lipitk.sourceforge.net/
datasets/tamilchardata.htm; its official split is that of the IWFHR 2006 competition. For research
use only; see `data/README.md`. `tamil` gives splits; `read_characters` reads one archive.
"""

import contextlib
import errno
import io
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PureWindowsPath

import numpy as np
import torch
from PIL import Image, ImageChops, UnidentifiedImageError

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
_NOTICE = (
    "HPL Tamil is for research use only: do not pass it on. Please cite HP Labs India, Isolated "
    "Handwritten Tamil Character dataset, http://lipitk.sourceforge.net/datasets/tamilchardata.htm"
)


def _archives(part: str, git_blob: str, repacked: str) -> tuple[sources.Archive, ...]:
    """Return the same images repacked, for mirrors, and the archive as HP Labs publish it."""
    name = f"hpl-tamil-iwfhr06-{part}-offline.tar"
    homes = tuple(f"{home}{name}.gz" for home in _HOMES)
    return (
        sources.Archive(f"hpl-tamil/{name}.xz", f"sha256:{repacked}", (), _NOTICE),
        sources.Archive(f"hpl-tamil/{name}.gz", f"git-blob:{git_blob}", homes, _NOTICE),
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


def tamil(
    run: Profile, side: int = 64, split: str = "official", proportions: str = "adapted"
) -> Dataset:
    """Return HPL Tamil as three splits of square images, `side` pixels wide and high.

    `official`: the competition's test split, whose 26,926 images come from writers of their own;
    its training split is divided so that validation, too, has writers of its own (one in ten).
    `random`: 80 % / 20 % of all 77,609 images whoever wrote them, a tenth of the 80 % for
    validation; only to compare with numbers published on such a split. Images of the competition's
    test split have writer -1 there. For `proportions` and what else is raised see `characters`.

    Raises:
        ValueError: `split` is neither.
    """
    if split not in ("official", "random"):
        raise ValueError(f"split is {split!r}. Expected 'official' or 'random'.")
    learn, test, source = characters(side, proportions)
    if split == "official":
        name, chosen = "HPL Tamil", _rows_by_writer(learn.writers, 0.1, run.seed)
    else:
        learn, name = _joined(learn, test), "HPL Tamil, random split"
        rest, held_out = data.stratified_rows(learn.labels, len(learn) // 5, run.seed)
        chosen = data.stratified_rows(learn.labels[rest], len(rest) // 10, run.seed)
        chosen, test = [rest[rows] for rows in chosen], learn[held_out]
    train, validation = (learn[rows] for rows in chosen)
    return data.sized(Dataset(name, source, train, validation, test), run)


def characters(side: int = 64, proportions: str = "adapted") -> tuple[Split, Split, str]:
    """Return what there is to learn from, what to test on, and where they come from.

    The source is `full` for the competition's two parts; where they are not to be had, synthetic
    writers stand in, under a banner, and it is `sample`. For `proportions` see `shapes.fitted`.

    Raises:
        ValueError: `proportions` is neither.
        DataError: an archive is damaged, or images in it are and NBHELPERS_DAMAGED is not `skip`.
        Unavailable: the real data is not to be had and NBHELPERS_SAMPLE is `never`.
    """

    def real() -> tuple[Split, Split, str]:
        learn, test = (_read_or_kept(sources.fetch(*p), side, proportions) for p in (TRAIN, TEST))
        return learn, test, "full"

    def sample() -> tuple[Split, Split, str]:
        name = f"downloads/hpl-tamil/synthetic-{synthetic.edition()}.zip"
        path = sources.data_folder() / name
        sources.kept(path, lambda: path if path.exists() else None, synthetic.write)
        letters = _read_or_kept(path, side, proportions)
        learn, test = (letters[rows] for rows in _rows_by_writer(letters.writers, 0.2, seed=0))
        return learn, test, "sample"

    return data.real_or_sample(real, sample)


def _rows_by_writer(writers: torch.Tensor, share: float, seed: int) -> list[torch.Tensor]:
    """Return the rows of most writers, and of the `share` that is held out with all they wrote."""
    from sklearn.model_selection import GroupShuffleSplit  # takes a second to import

    divide = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    return [torch.from_numpy(rows) for rows in next(divide.split(writers, groups=writers.numpy()))]


def _joined(*parts: Split) -> Split:
    named = [torch.full_like(p.labels, UNKNOWN) if p.writers is None else p.writers for p in parts]
    images, labels = torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts])
    return Split(images, labels, parts[0].classes, torch.cat(named))


_ENDINGS = (".tif", ".tiff")
_N = "([0-9]{1,9})"  # longer numbers fit no array
_NAME = re.compile(  # usr_26/154t05.tiff, 154t05.usr_26.tiff, 154u026t05.tiff or 00042.tiff
    rf"(?:^|/)(?:usr_{_N}/)?{_N}(?:(?:u{_N})?t{_N}(?:\.usr_{_N})?)?\.tiff?$", re.IGNORECASE
)


def read_characters(source: Path | str, side: int = 64, proportions: str = "adapted") -> Split:
    """Read a `.tar.gz`, `.tar.xz` or `.zip` in any known layout; nothing is unpacked to disk.

    The layouts: `usr_<writer>/<class>t<trial>.tiff` · `<class>t<trial>.usr_<writer>.tiff` ·
    `<class>u<writer>t<trial>.tiff` · `<number>.tiff` with a `ground_truth.txt` of
    `<number> <class>` lines; in capitals or small letters, with slashes or backslashes.

    Returns:
        Images as `shapes.placed` makes them, ordered by writer, class and trial; `writers` is None
        where no name tells one.

    Raises:
        ValueError: `proportions` is neither `kept` nor `adapted`.
        DataError: there is no such file; it is damaged, far too large or climbs out of its folder;
            an image is of no known class or layout; the ground truth does not fit the images;
            there are no images, or damaged ones and NBHELPERS_DAMAGED is not `skip`.
    """
    return _split(Path(source), _read(Path(source), side, proportions))


def _read_or_kept(archive: Path, side: int, proportions: str) -> Split:
    """Read an archive, or what an earlier reading has kept."""
    path = archive.with_name(f"{archive.name}.{side}px-{proportions}-even.npz")
    read = partial(_read, archive, side, proportions)

    def load() -> dict[str, np.ndarray] | None:
        with contextlib.suppress(Exception), np.load(path) as kept:  # none, or a damaged one
            return dict(kept)

    def write(unfinished: Path) -> None:
        with unfinished.open("wb") as file:
            np.savez(file, **read())

    try:
        arrays = sources.kept(path, load, write)
    except sources.WriteError as error:  # a full disk, or one that can only be read
        print(f"{error} Until then, each run reads the archive anew.")
        arrays = read()
    return _split(archive, arrays)


def _split(source: Path, arrays: dict[str, np.ndarray]) -> Split:
    """Return what `_read` has found, if that is all there is or NBHELPERS_DAMAGED says `skip`."""
    data.leave_out(source, arrays["damaged"].tolist(), len(arrays["labels"]))
    names = ("images", "labels", "writers", "sizes")
    images, labels, writers, sizes = (torch.from_numpy(arrays[name]) for name in names)
    named = writers if (writers != UNKNOWN).any() else None
    return Split(images, labels, tuple(text for text, _ in class_table()), named, sizes)


def _read(source: Path, side: int, proportions: str) -> dict[str, np.ndarray]:
    """Return the columns of a `Split`, and `damaged`: which images are, and what is wrong."""
    shapes.fitted((1, 1), 1, proportions)  # raises what would else be an error of every image
    letters, numbers, truth, damaged, skipped = [], set(), {}, [], 0
    for name, content in _files(source):
        base = name.rpartition("/")[2].lower()
        if base == "ground_truth.txt":
            truth = _ground_truth(f"{source}: {name}", content)
        elif base.startswith("._") or not base.endswith(_ENDINGS):
            skipped += 1
        else:
            told = _told(name, source)
            if told[1] == UNKNOWN:
                numbers.add(told[2])
            try:
                letters.append((told, *square(content, side, proportions)))
            except ValueError as error:
                damaged.append(f"{name}: {error}")
    _check_truth(source, truth, numbers)
    if not letters:
        error = f"{source}: holds no images of Tamil characters (*.tiff) that can be read."
        raise DataError("\n  ".join([error, *damaged[:10]]))
    if skipped:
        print(f"{source.name}: {skipped:,} files that are no images were skipped")
    letters.sort(key=lambda letter: letter[0])
    told, images, sizes = zip(*letters, strict=True)
    labels = [truth[number] if label == UNKNOWN else label for _, label, number in told]
    return {
        "images": np.stack(images),
        "labels": np.array(labels, np.int64),
        "writers": np.array([writer for writer, _, _ in told], np.int64),
        "sizes": np.array(sizes, np.int32),
        "damaged": np.array(damaged, np.str_),
    }


def _told(name: str, source: Path) -> tuple[int, int, int]:
    """Return what the name of an image tells: writer, class, and trial or else its number."""
    found = _NAME.search(name)
    folder, label, inside, trial, after = found.groups() if found else [None] * 5
    if label and not trial:
        return UNKNOWN, UNKNOWN, int(label)
    if not (writer := after or inside or folder):
        raise DataError(
            f"{source}: {name}: the name tells no class or no writer. Expected for example "
            "usr_26/154t05.tiff, 154t05.usr_26.tiff, 154u026t05.tiff or 00042.tiff."
        )
    return int(writer), _class(label, f"{source}: {name}"), int(trial)


def _ground_truth(name: str, content: bytes) -> dict[int, int]:
    form, truth = re.compile(rf"\s*{_N}(?:\.tiff?)?\s+{_N}\s*", re.IGNORECASE), {}
    for line in filter(str.strip, content.decode("utf-8-sig", errors="replace").splitlines()):
        if not (match := form.fullmatch(line)):
            raise DataError(f"{name}: {line[:80]!r} is not a line of the form '<number> <class>'.")
        truth[int(match[1])] = _class(match[2], name)
    return truth


def _class(digits: str, name: str) -> int:
    if (label := int(digits)) >= CLASSES:
        raise DataError(f"{name}: unknown class {digits}. Expected 000 to {CLASSES - 1}.")
    return label


def _check_truth(source: Path, truth: dict[int, int], numbers: set[int]) -> None:
    without, unused = sorted(numbers - truth.keys()), sorted(truth.keys() - numbers)
    if numbers and (without or unused):
        raise DataError(
            f"{source}: ground_truth.txt is missing or does not fit the images. Images without a "
            f"line: {without[:3]}; lines without an image: {unused[:3]}."
        )


def _files(source: Path) -> Iterator[tuple[str, bytes | None]]:
    """Yield name and content of each regular file; raise DataError for what cannot be trusted.

    The content of an image that is far too large is None: it is not read.
    """
    if not source.is_file():
        raise DataError(f"{source}: no such file.")
    try:
        for count, (name, size, read) in enumerate(_listed(source)):
            path = PureWindowsPath(name)  # knows slashes and backslashes
            name = path.as_posix().encode(errors="backslashreplace").decode()  # can be printed
            if count == MOST_FILES:
                raise DataError(f"{source}: more than {count:,} files; this is no HPL archive.")
            if path.anchor or ".." in path.parts:
                raise DataError(f"{source}: {name!r} would climb out of the folder; not read.")
            if size > MOST_FILE_BYTES and not name.lower().endswith(_ENDINGS):
                raise DataError(f"{source}: {name} has {size:,} bytes, which is too many.")
            yield name, read() if size <= MOST_FILE_BYTES else None
    except (DataError, MemoryError):
        raise
    except Exception as error:  # what reads and unpacks archives raises errors of many kinds
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # a disk or a permission, not the archive
        message = f"{source}: damaged archive ({error}). Delete it and fetch it again."
        raise DataError(message) from None


def _listed(source: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Yield name, size in bytes and a reader of each regular file, in the order of the archive."""
    if zipfile.is_zipfile(source):
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


def square(
    content: bytes | None, side: int, proportions: str
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return a letter as of `shapes.placed`, and its (height, width) before that, in pixels.

    `content` is a TIFF file, dark ink on light paper; None, or what is damaged, is a ValueError.
    """
    if content is None:
        raise ValueError(f"more than {MOST_FILE_BYTES:,} bytes; not read")
    opened = partial(Image.open, io.BytesIO(content), formats=("TIFF",))
    try:
        with warnings.catch_warnings(action="ignore"), opened() as picture:  # what matters raises
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"{picture.width} × {picture.height} pixels; not read")
            grey = ImageChops.invert(picture.convert("L"))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise what they stumble over, of any kind
        reason = "not a TIFF" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"an unreadable image ({reason})") from None
    return shapes.placed(grey, side, proportions), (grey.height, grey.width)
