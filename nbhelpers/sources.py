"""Get data archives: verified cache, then mirror, then the public internet.

Whatever the source, an archive is used only when its bytes have the published checksum.

Environment variables:
    NBHELPERS_DATA: the folder for downloads; default `data/` of this project.
    NBHELPERS_ARTIFACTS: where runs keep their models and records; `artifacts/` by default.
    NBHELPERS_MIRROR: a folder or URL that holds the same archives (a USB stick, a file server).
    NBHELPERS_SAMPLE: `auto` (the default: real data where it can be had, else the embedded
        sample), `never` (fail rather than use the sample) or `always`.
    NBHELPERS_DAMAGED: `stop` (the default: damaged images are an error) or `skip` (go on without
        them).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from filelock import FileLock, Timeout

CONNECT_SECONDS = 5  # until a server must have answered
STALL_SECONDS = 10  # without a byte before a download counts as stalled
SLOWEST = 1_000  # bytes a second, below which it counts as stalled, too
MOST_BYTES = 1_000_000_000  # ten times the largest archive: a server may go on for ever
LOCK_SECONDS = 900  # to wait for another process that fetches the same archive
CHUNK_BYTES = 1 << 14


class SourceError(RuntimeError):
    """An archive could not be had from a source, or its bytes are not what they should be."""


class WriteError(OSError):
    """A file could not be written; the message names it and says what helps."""


class Unavailable(SourceError):
    """No source has the archive; the message lists what each of them answered."""


@dataclass(frozen=True)
class Archive:
    """A file that others publish.

    Attributes:
        path: where it lies below the data folder and below a mirror: `mnist/name.gz`.
        checksum: `<algorithm>:<hexadecimal digest>`, for example `md5:f68b…`; `git-blob:…` is the
            id that git gives a file. Where only the first digits are published, those.
        urls: its public homes, best first.
    """

    path: str
    checksum: str
    urls: tuple[str, ...]


def project_folder() -> Path:
    """Return the folder of this project: the one that holds `nbhelpers/`."""
    return Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """Return the folder that downloads are kept under (see NBHELPERS_DATA).

    A relative path counts from the project, because notebooks run in a folder of their own.
    """
    return project_folder() / (os.environ.get("NBHELPERS_DATA") or "data")


def artifacts_root() -> Path:
    """Return the folder for all that runs keep: models and records (see NBHELPERS_ARTIFACTS).

    A relative path counts from the project, as for `data_folder`.
    """
    return project_folder() / (os.environ.get("NBHELPERS_ARTIFACTS") or "artifacts")


def cached_path(archive: Archive) -> Path:
    """Return where the verified copy of `archive` lies once it has been fetched."""
    return data_folder() / "downloads" / archive.path


def sample_mode() -> str:
    """Return NBHELPERS_SAMPLE, checked.

    Raises:
        SourceError: it is none of `auto`, `never`, `always`.
    """
    mode = os.environ.get("NBHELPERS_SAMPLE") or "auto"
    if mode not in ("auto", "never", "always"):
        raise SourceError(f"NBHELPERS_SAMPLE is {mode!r}. Expected auto, never or always.")
    return mode


def damaged_mode() -> str:
    """Return NBHELPERS_DAMAGED, checked.

    Raises:
        SourceError: it is neither `stop` nor `skip`.
    """
    mode = os.environ.get("NBHELPERS_DAMAGED") or "stop"
    if mode not in ("stop", "skip"):
        raise SourceError(f"NBHELPERS_DAMAGED is {mode!r}. Expected stop or skip.")
    return mode


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a path to write to; what stands there takes the place of `path` when the block ends.

    Where the block raises, or the process is killed, `path` stays as it was. Missing folders are
    made.

    Raises:
        WriteError: the disk is full, or the folder cannot be written to.
    """
    unfinished = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise WriteError(cannot_write(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def cannot_write(path: Path, error: Exception) -> str:
    """Return one sentence on why `path` cannot be written to, and one on what helps."""
    if isinstance(error, WriteError):
        return str(error)
    reason = getattr(error, "strerror", None) or error
    instead = "work in a copy of the course in a folder that can be."
    for name, folder in (("NBHELPERS_DATA", data_folder), ("NBHELPERS_ARTIFACTS", artifacts_root)):
        if path.is_relative_to(folder()):
            instead = f"set {name} to a folder that can be."
    return f"{path} cannot be written to ({reason}). Free some space, or {instead}"


def has_checksum(path: Path, checksum: str) -> bool:
    """Return whether the file at `path` exists and has the checksum of an `Archive`."""
    if not path.is_file():
        return False
    algorithm, _, digest = checksum.partition(":")
    with path.open("rb") as file:
        if algorithm == "git-blob":  # SHA-1 of a header and the content
            header = b"blob %d\0" % path.stat().st_size
            return hashlib.file_digest(file, lambda: hashlib.sha1(header)).hexdigest() == digest
        return hashlib.file_digest(file, algorithm).hexdigest().startswith(digest)


def fetch(archive: Archive) -> Path:
    """Return the path of a verified copy of `archive`, getting it if need be.

    The order is cache, mirror, public internet. A download that broke off leaves a `.part` file,
    and the next one goes on from there; a file takes its final name only once its checksum holds.
    Processes that start at once wait for the one that came first.

    Raises:
        Unavailable: no source has it; lists what each answered.
        SourceError: the data folder cannot be written to.
    """
    target = cached_path(archive)
    if has_checksum(target, archive.checksum):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock", timeout=LOCK_SECONDS):
            if has_checksum(target, archive.checksum):  # another process got it meanwhile
                return target
            return _fetch_into(target, archive)
    except Timeout:
        raise SourceError(
            f"{target}: another process has been fetching it for {LOCK_SECONDS // 60} minutes. "
            f"If none is running, delete {target.name}.lock and try again."
        ) from None
    except OSError as error:
        with contextlib.suppress(OSError):  # give the space back
            _partial(target).unlink()
        raise SourceError(cannot_write(target, error)) from error


def _fetch_into(target: Path, archive: Archive) -> Path:
    if target.exists():
        print(f"{target.name}: the cached copy is damaged; fetching it again.")
    partial = _partial(target)
    answers = []
    for place in _places(archive):
        try:
            _get(place, partial, archive.checksum)
        except SourceError as error:
            answers.append(str(error))
            continue
        for answer in answers:  # a source that lied or broke off is worth knowing about
            print(f"{archive.path}: {answer}; the next source had it.")
        partial.replace(target)
        return target
    tried = "".join(f"\n  - {answer}" for answer in answers) or "\n  - no mirror, no public home"
    raise Unavailable(
        f"{archive.path} could not be had. Tried:{tried}\n"
        "Connect to the internet, or set NBHELPERS_MIRROR to a folder or URL that has it."
    )


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _places(archive: Archive) -> Iterator[str]:
    mirror = os.environ.get("NBHELPERS_MIRROR")
    if mirror:
        yield f"{mirror.rstrip('/')}/{archive.path}"
    yield from archive.urls


def _get(place: str, partial: Path, checksum: str) -> None:
    """Copy or download `place` to `partial`, checked; raise SourceError otherwise."""
    if urlsplit(place).scheme not in ("http", "https"):
        chunks = _chunks(project_folder() / place)
        first = next(chunks, b"")  # where there is no such file, an earlier part stays
        with partial.open("wb") as file:
            file.write(first)
            file.writelines(chunks)
    else:
        resumed = _download(place, partial)
        if resumed and not has_checksum(partial, checksum):
            # The earlier part may be to blame: once more, from the start.
            partial.unlink()
            _download(place, partial)
    if not has_checksum(partial, checksum):
        partial.unlink()
        raise SourceError(f"{place}: wrong checksum, expected {checksum}")


def _chunks(source: Path) -> Iterator[bytes]:
    """Yield the content of a file; raise SourceError if it cannot be read, at first or later."""
    try:
        with source.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise SourceError(f"{source}: {error.strerror or error}") from None


_NAMES = "the name server"
_silent_hosts: set[str] = set()  # those that this process has waited for once already


def _knock(url: str) -> None:
    """Raise TimeoutError or OSError where no server at `url` takes a connection within seconds.

    Neither a name look-up nor a server with many addresses has a time limit for all of it. A name
    server that is silent is so for every name, and is waited for once.
    """
    if requests.utils.get_environ_proxies(url):
        return  # both are the proxy's business
    place = urlsplit(url)
    address = (place.hostname, place.port or {"http": 80, "https": 443}[place.scheme])
    patience = 0.5 if _NAMES in _silent_hosts else CONNECT_SECONDS
    try:
        _within(patience, lambda: socket.getaddrinfo(*address))
    except TimeoutError:
        _silent_hosts.add(_NAMES)
        raise
    _within(CONNECT_SECONDS, lambda: socket.create_connection(address, CONNECT_SECONDS).close())


def _download(url: str, partial: Path) -> bool:
    """Append what is missing of `url` to `partial`; return whether it went on from a part."""
    host = urlsplit(url).netloc
    if host in _silent_hosts:
        raise SourceError(f"{url}: the server cannot be reached")
    start = partial.stat().st_size if partial.exists() else 0
    # `identity`: the bytes as stored, so that their number and checksum mean something
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        _knock(url)
        response = _within(
            CONNECT_SECONDS + STALL_SECONDS,
            lambda: requests.get(
                url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS)
            ),
        )
    except OSError as error:  # what requests raises is one, too
        silence = (requests.ConnectionError, requests.Timeout)
        if isinstance(error, requests.RequestException) and not isinstance(error, silence):
            raise SourceError(f"{url}: {error}") from None
        _silent_hosts.add(host)
        raise SourceError(f"{url}: the server cannot be reached") from None
    with response:
        if response.status_code == 416 and start:  # the part is longer than the file: start afresh
            partial.unlink()
            return _download(url, partial)
        if response.status_code not in (200, 206):
            raise SourceError(f"{url}: HTTP status {response.status_code} {response.reason}")
        if response.status_code == 200:
            start = 0
        _receive(response, partial, start)
    return start > 0


def _receive(response: requests.Response, partial: Path, start: int) -> None:
    from tqdm.auto import tqdm

    length = response.headers.get("Content-Length", "")
    expected = start + int(length) if length.isdecimal() else None
    if expected and expected > MOST_BYTES:
        raise SourceError(f"{response.url}: {expected:,} bytes, which no archive here has")
    try:
        with (
            partial.open("ab" if start else "wb") as file,
            tqdm(
                desc=partial.stem,
                total=expected,
                initial=start,
                unit="B",
                unit_scale=True,
                leave=False,
            ) as bar,
        ):
            began, before = time.monotonic(), start
            # What has come, however little: `iter_content` would wait for a whole chunk.
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > MOST_BYTES:
                    break  # its checksum cannot hold
                if (seconds := time.monotonic() - began) > STALL_SECONDS:
                    if file.tell() - before < SLOWEST * seconds:
                        raise SourceError(f"{response.url}: the download stalled")
                    began, before = time.monotonic(), file.tell()
    except urllib3.exceptions.HTTPError:
        raise SourceError(f"{response.url}: the download broke off or stalled") from None
    received = partial.stat().st_size
    if expected is not None and received < expected:
        raise SourceError(f"{response.url}: broke off after {received:,} of {expected:,} bytes")


def _within(seconds: float, action: Callable[[], Any]) -> Any:
    """Return what `action` returns; raise TimeoutError if it takes longer than `seconds`.

    A name look-up knows no time limit of its own, so a machine behind a dead network could
    wait for minutes: the action runs in a thread that is left behind.
    """
    outcome = []

    def work() -> None:
        try:
            outcome.append(action())
        except Exception as error:  # passed on below
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
