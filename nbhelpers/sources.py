"""Get data archives: verified cache, then mirror, then the public internet.

Whatever the source, an archive is used only when its bytes have the published checksum.

Environment variables:
    NBHELPERS_DATA: the folder for downloads; default `data/` of this project.
    NBHELPERS_MIRROR: a folder or URL that holds the same archives (a USB stick, a file server).
    NBHELPERS_SAMPLE: `auto` (the default: real data where it can be had, else the embedded
        sample), `never` (fail rather than use the sample) or `always`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock, Timeout

CONNECT_SECONDS = 5  # until a server must have answered
STALL_SECONDS = 10  # without a byte before a download counts as stalled
LOCK_SECONDS = 900  # to wait for another process that fetches the same archive
CHUNK_BYTES = 1 << 14


class SourceError(RuntimeError):
    """An archive could not be had from a source, or its bytes are not what they should be."""


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
    """Return the folder that downloads are kept under (see NBHELPERS_DATA)."""
    return Path(os.environ.get("NBHELPERS_DATA") or project_folder() / "data")


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


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a path to write to; what stands there takes the place of `path` when the block ends.

    Where the block raises, or the process is killed, `path` stays as it was. Missing folders are
    made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


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
        raise SourceError(
            f"{target}: the data folder cannot be written to ({error.strerror or error}). "
            "Free some space, or set NBHELPERS_DATA to a folder that can be."
        ) from error


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
        source = Path(place)
        if not source.is_file():
            raise SourceError(f"{source}: no such file")
        shutil.copyfile(source, partial)
    else:
        resumed = _download(place, partial)
        if resumed and not has_checksum(partial, checksum):
            # The earlier part may be to blame: once more, from the start.
            partial.unlink()
            _download(place, partial)
    if not has_checksum(partial, checksum):
        partial.unlink()
        raise SourceError(f"{place}: wrong checksum, expected {checksum}")


_silent_hosts: set[str] = set()  # those that this process has waited for once already


def _download(url: str, partial: Path) -> bool:
    """Append what is missing of `url` to `partial`; return whether it went on from a part."""
    host = urlsplit(url).netloc
    if host in _silent_hosts:
        raise SourceError(f"{url}: the server cannot be reached")
    start = partial.stat().st_size if partial.exists() else 0
    # `identity`: the bytes as stored, so that their number and checksum mean something
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = _within(
            CONNECT_SECONDS + STALL_SECONDS,
            lambda: requests.get(
                url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS)
            ),
        )
    except (requests.ConnectionError, requests.Timeout, TimeoutError):
        _silent_hosts.add(host)
        raise SourceError(f"{url}: the server cannot be reached") from None
    except requests.RequestException as error:
        raise SourceError(f"{url}: {error}") from None
    with response:
        if response.status_code == 416:  # the part is longer than the file: start afresh
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

    length = response.headers.get("Content-Length")
    expected = start + int(length) if length else None
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
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
    except requests.RequestException:
        raise SourceError(f"{response.url}: the download broke off or stalled") from None
    received = partial.stat().st_size
    if expected is not None and received < expected:
        raise SourceError(f"{response.url}: broke off after {received:,} of {expected:,} bytes")


def _within(seconds: float, action: Callable[[], requests.Response]) -> requests.Response:
    """Return what `action` returns; raise TimeoutError if it takes longer than `seconds`.

    A name look-up knows no time limit of its own, so a machine behind a dead network could
    wait for minutes: the action runs in a thread that is left behind.
    """
    outcome: list[requests.Response | Exception] = []

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
