"""Pictures, letters and archives of them as files, and a disk that has no room for any."""

import contextlib
import hashlib
import io
import tarfile
import zipfile

import pytest
from PIL import Image, ImageDraw

from nbhelpers import sources
from nbhelpers.tamil import archive

LYING, STANDING = (20, 60, 120, 75), (60, 20, 75, 120)


def encoded(picture, form="PNG", **options):
    """Return a picture as the bytes of a file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def drawing(*boxes):
    """Return black boxes, or one that lies, on a sheet 150 pixels wide and 140 high: a PNG."""
    sheet = Image.new("RGB", (150, 140), "white")
    for box in boxes or [LYING]:
        ImageDraw.Draw(sheet).rectangle(box, fill="black")
    return encoded(sheet)


def letter(width=90, height=60, mark=0):
    """Return two black strokes on white, as the importer gets letters: a 1-bit TIFF."""
    image = Image.new("1", (width, height), 1)
    image.paste(0, (5, 5, width - 5, 9))
    image.paste(0, (5 + mark, 5, 9 + mark, height - 5))
    return encoded(image, "TIFF")


def packed(path, files, links=()):
    """Write files, pairs of name and content, into an archive of the kind that its path tells.

    Return the path. In a tar come links, too, of these types, out of any folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    files = files.items() if isinstance(files, dict) else files
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, content in files:
                file.writestr(zipfile.ZipInfo(name), content)
    else:
        with tarfile.open(path, f"w:{path.suffix[1:]}") as file:
            for number, kind in enumerate(links):
                link = tarfile.TarInfo(f"usr_9/00{number}t01.tiff")
                link.type, link.linkname = kind, "../../../../../etc/passwd"
                file.addfile(link)
            for name, content in files:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return path


def mirror_letters(folder, monkeypatch, **parts):
    """Let archives of these files, in a mirror, stand for HPL Tamil's TRAIN and TEST."""
    for part, files in parts.items():
        path = packed(folder / "hpl-tamil" / f"{part}.tar.gz", files)
        checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        described = sources.Archive(f"hpl-tamil/{path.name}", checksum, (), "please cite")
        monkeypatch.setattr(archive, part, (described,))
    monkeypatch.setenv("NBHELPERS_MIRROR", str(folder))
    monkeypatch.setenv("NB_PROFILE", "quick")


@contextlib.contextmanager
def full_disk():
    """Let the system refuse to write more than 700 bytes to a file, as it does on a full disk."""
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
