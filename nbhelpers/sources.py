"""Get data archives: verified cache, then mirror (NBHELPERS_MIRROR), then the public internet."""

import contextlib
import glob
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

PATIENCE = 8  # seconds in which a server must have sent at least SLOW_BYTES
SLOW_BYTES = 8_000
MOST_BYTES = 1_000_000_000  # ten times the largest archive: a server may go on for ever
MODES = {"NBHELPERS_SAMPLE": ("auto", "never", "always"), "NBHELPERS_DAMAGED": ("stop", "skip")}

T = TypeVar("T")
_SILENT = "the server cannot be reached, or stalled"
_silent_hosts: set[str] = set()  # those that this process has waited for once already


class SourceError(RuntimeError):
    """An archive could not be had from a source, or its bytes are not what they should be."""


class WriteError(OSError):
    """A file could not be written; the message names it and says what helps."""


class Unavailable(SourceError):
    """No source has the archive; the message lists what each of them answered."""


@dataclass(frozen=True)
class Archive:
    """A file that others publish."""

    path: str  # below the data folder and below a mirror: `mnist/name.gz`
    checksum: str  # `md5:f68b…` or its first digits; `git-blob:…`: the id that git gives the file
    urls: tuple[str, ...]  # its public homes, best first
    notice: str = ""  # what is said once it has been fetched


def project_folder() -> Path:
    """Return the folder of this project: the one that holds `nbhelpers/`."""
    return Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """Return NBHELPERS_DATA, for downloads; relative to the project, as notebooks run elsewhere."""
    return project_folder() / Path(os.environ.get("NBHELPERS_DATA") or "data").expanduser()


def artifacts_root() -> Path:
    """Return NBHELPERS_ARTIFACTS, for models and records; relative to the project, likewise."""
    chosen = Path(os.environ.get("NBHELPERS_ARTIFACTS") or "artifacts")
    return project_folder() / chosen.expanduser()


def cached_path(archive: Archive) -> Path:
    """Return where the verified copy of `archive` lies once it has been fetched."""
    return data_folder() / "downloads" / archive.path


def mode(name: str) -> str:
    """Return NBHELPERS_SAMPLE or NBHELPERS_DAMAGED; raise SourceError if it is none of `MODES`."""
    value = os.environ.get(name) or MODES[name][0]
    if value not in MODES[name]:
        raise SourceError(f"{name} is {value!r}. Expected {' or '.join(MODES[name])}.")
    return value


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a path to write to; what stands there takes the place of `path` when the block ends.

    If the block raises or the process is killed, `path` stays as it was. Folders are made, and what
    a process that was killed has left beside `path` is removed.

    Raises:
        WriteError: the disk is full, or the folder cannot be written to.
    """
    unfinished = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise WriteError(cannot_write(path, error)) from error
    finally:
        for left in path.parent.glob(f"{glob.escape(path.name)}.part*"):
            if left == unfinished or _was_killed(left.suffix[5:]):
                with contextlib.suppress(OSError):
                    left.unlink()


def _was_killed(process: str) -> bool:
    """Return whether no process has this number; on Windows, where asking would stop it, False."""
    try:
        if process.isdigit() and os.name != "nt":
            os.kill(int(process), 0)  # only asks
    except (OSError, OverflowError) as error:
        return not isinstance(error, PermissionError)  # which says that it is somebody else's
    return False


def cannot_write(path: Path, error: Exception) -> str:
    """Return one sentence on why `path` cannot be written to, and one on what helps."""
    if isinstance(error, WriteError):
        return str(error)
    reason = getattr(error, "strerror", None) or error
    names = {data_folder(): "NBHELPERS_DATA", artifacts_root(): "NBHELPERS_ARTIFACTS"}
    name = next((name for folder, name in names.items() if path.is_relative_to(folder)), None)
    instead = f"set {name} to" if name else "work in a copy of the course in"
    advice = f"Free some space, or {instead} a folder that can be."
    return f"{path} cannot be written to ({reason}). {advice}"


def kept(path: Path, load: Callable[[], T | None], make: Callable[[Path], object]) -> T:
    """Return what `load` finds at `path`; where that is None, one process has `make` write it.

    Raises:
        WriteError: it cannot be written.
    """
    if (found := load()) is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):  # it ends with the process that has it
                if (found := load()) is None:
                    with written(path) as unfinished:
                        make(unfinished)
                    found = load()
        except OSError as error:
            raise WriteError(cannot_write(path, error)) from error
    return found


def has_checksum(path: Path, checksum: str) -> bool:
    """Return whether the file at `path` exists and has the checksum of an `Archive`."""
    if not path.is_file():
        return False
    algorithm, _, digest = checksum.partition(":")
    if algorithm == "git-blob":
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == digest
    return pooch.file_hash(path, algorithm).startswith(digest)


def cached(*archives: Archive) -> Path | None:
    """Return the path of the first of `archives` of which a verified copy is here, if any is."""
    paths = ((cached_path(archive), archive.checksum) for archive in archives)
    return next((path for path, checksum in paths if has_checksum(path, checksum)), None)


def fetch(*archives: Archive) -> Path:
    """Return the path of a verified copy of the first of `archives` that can be had.

    Raises:
        Unavailable: no source has any of them; lists what each answered.
        WriteError: the data folder cannot be written to.
    """
    if path := cached(*archives):
        return path
    answers = []
    for archive in archives:
        try:
            return kept(cached_path(archive), partial(cached, archive), partial(_get, archive))
        except Unavailable as error:
            answers.append(str(error))
    raise Unavailable("\n".join(answers))


def _get(archive: Archive, unfinished: Path) -> None:
    mirror = os.environ.get("NBHELPERS_MIRROR")
    places = [f"{mirror.rstrip('/')}/{archive.path}"] if mirror else []
    answers = []
    for place in (*places, *archive.urls):
        try:
            get = _download if urlsplit(place).scheme in ("http", "https") else _copy
            get(place, unfinished)
            if not has_checksum(unfinished, archive.checksum):
                raise SourceError(f"{place}: wrong checksum, expected {archive.checksum}")
        except SourceError as error:
            answers.append(str(error))
        else:
            for answer in answers:  # a source that lied or broke off is worth knowing about
                print(f"{archive.path}: {answer}; the next source had it.")
            if archive.notice:
                print(f"{archive.path}: {archive.notice}")
            return
    tried = "".join(f"\n  - {answer}" for answer in answers) or "\n  - no mirror, no public home"
    raise Unavailable(
        f"{archive.path} could not be had. Tried:{tried}\n"
        "Connect to the internet, or set NBHELPERS_MIRROR to a folder or URL that has it."
    )


def _copy(place: str, unfinished: Path) -> None:
    try:
        path = url2pathname(place.removeprefix("file:")) if place.startswith("file:") else place
        content = (project_folder() / Path(path).expanduser()).read_bytes()
    except OSError as error:
        raise SourceError(f"{place}: {error.strerror or error}") from None
    unfinished.write_bytes(content)


def _download(url: str, unfinished: Path) -> None:
    """Let pooch write what is at `url`, in a thread that is left behind where it takes too long.

    Neither a name look-up nor a server that sends a byte a second knows a time limit. With its
    file closed, such a thread ends at the next bytes.
    """
    host, errors = urlsplit(url).netloc, []
    if host in _silent_hosts:
        raise SourceError(f"{url}: {_SILENT}")
    shown = {"leave": False, "disable": bool(os.environ.get("NB_HEADLESS"))}
    bar = tqdm(desc=unfinished.stem, total=1, unit="B", unit_scale=True, **shown)
    with bar, unfinished.open("wb") as file:
        headers = {"Accept-Encoding": "identity"}  # the bytes that the checksum is of
        get = pooch.HTTPDownloader(bar, timeout=PATIENCE, headers=headers)

        def work() -> None:
            try:
                get(url, file, None)
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        size, end = 0, time.monotonic() + PATIENCE
        while thread.is_alive() and not errors:
            thread.join(0.05)
            if (now := unfinished.stat().st_size) >= size + SLOW_BYTES:
                size, end = now, time.monotonic() + PATIENCE
            if now > MOST_BYTES:
                raise SourceError(f"{url}: more than {MOST_BYTES:,} bytes, which no archive has")
            if time.monotonic() > end:
                errors.append(requests.Timeout())
    match errors:
        case [requests.ConnectionError() | requests.Timeout(), *_]:
            _silent_hosts.add(host)
            raise SourceError(f"{url}: {_SILENT}")
        case [requests.RequestException() | ValueError() as error, *_]:
            raise SourceError(f"{url}: {error}")
        case [error, *_]:
            raise error  # a full disk, not the server
