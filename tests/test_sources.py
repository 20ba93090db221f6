import hashlib
import multiprocessing
import os
import time

import promise
import pytest
from as_files import full_disk
from conftest import CONTENT
from source import lay

from nbhelpers import sources
from nbhelpers.sources import Archive, Unavailable, WriteError, cached_path, fetch

MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
CHECKED = promise.data("Only an archive whose bytes have the published checksum is used")
ONCE = promise.data("Nothing is fetched twice, not even by two processes at once")
MIRROR = promise.data("A folder or URL of your own can stand in for the internet")
SECONDS = promise.hostile(
    "A server that stalls or says nothing is left for the next source within seconds"
)
WHOLE = promise.hostile(
    "A full disk and a read-only folder are named, and leave nothing half-written"
)


def archive(server, *moods):
    return Archive("set/thing.gz", MD5, tuple(f"{server.url}/{mood}/thing.gz" for mood in moods))


def files_left():
    folder = cached_path(Archive("set/thing.gz", MD5, ())).parent
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@ONCE
@CHECKED
def test_a_good_download_shows_a_bar_and_is_repeated_only_if_damaged(server, capsys):
    for _ in range(2):
        path = fetch(archive(server, "good"))
        assert path.read_bytes() == CONTENT
    assert files_left() == ["thing.gz"] and server.seen == ["good"]
    out, err = capsys.readouterr()
    assert out == "" and "thing.gz" in err
    path.write_bytes(b"damaged")
    assert fetch(archive(server, "good")).read_bytes() == CONTENT


@CHECKED
@pytest.mark.parametrize(
    ("lie", "answer"),
    [
        ("corrupted", f"wrong checksum, expected {MD5}"),
        ("truncated", "Connection broken"),
        ("endless", "more than 2,000,000 bytes"),
        ("missing", "404"),
    ],
)
def test_a_source_that_lies_is_left_for_the_next(server, lie, answer, monkeypatch, capsys):
    monkeypatch.setattr(sources, "MOST_BYTES", 2_000_000)
    with pytest.raises(Unavailable, match=f"{lie}/thing.gz: .*{answer}"):
        fetch(archive(server, lie))
    assert files_left() == []
    elsewhere = server.url.replace("127.0.0.1", "localhost") + "/good/thing.gz"
    both = Archive("set/thing.gz", MD5, (*archive(server, lie).urls, elsewhere))
    assert fetch(both).read_bytes() == CONTENT
    assert answer in capsys.readouterr().out
    assert files_left() == ["thing.gz"]


@CHECKED
def test_checksums_of_every_kind(tmp_path):
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    assert sources.has_checksum(path, "git-blob:ce013625030ba8dba906f756967f9e9ca394464a")
    assert sources.has_checksum(path, "sha256:5891b5b5")  # PyTorch publishes the first digits
    assert not sources.has_checksum(path, "sha256:5891b5b6")
    assert not sources.has_checksum(path, "git-blob:ce013625030ba8dba906f756967f9e9ca394464b")
    assert not sources.has_checksum(tmp_path / "none", "sha256:5891b5b5")


@SECONDS
@pytest.mark.parametrize("mood", ["stalled", "silent", "trickling"])
def test_a_stalling_server_is_given_up_quickly_and_once(server, mood):
    started = time.perf_counter()
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"cannot be reached, or stalled"):
            fetch(archive(server, mood, mood))
    assert time.perf_counter() - started < 2
    assert server.seen == [mood]


@MIRROR
@pytest.mark.parametrize("way", ["folder", "at home", "file", "file, with a slash", "URL"])
def test_a_mirror_comes_before_the_internet(way, server, tmp_path, monkeypatch):
    stick = tmp_path / "a stick"
    lay(stick, {"set/thing.gz": CONTENT})
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    ways = {"folder": str(stick), "at home": "~/a stick", "URL": f"{server.url}/good/"}
    ways |= {"file": stick.as_uri(), "file, with a slash": f"{stick.as_uri()}/"}
    monkeypatch.setenv("NBHELPERS_MIRROR", ways[way])
    assert fetch(archive(server, "missing")).read_bytes() == CONTENT
    assert server.seen == (["good"] if way == "URL" else [])


@CHECKED
def test_a_bad_mirror_falls_back_to_the_internet(server, tmp_path, monkeypatch, capsys):
    thing = tmp_path / "stick" / "set" / "thing.gz"
    thing.mkdir(parents=True)  # reading it fails, as a broken disk does
    monkeypatch.setenv("NBHELPERS_MIRROR", str(tmp_path / "stick"))
    fetch(archive(server, "good")).unlink()
    assert str(thing) in capsys.readouterr().out
    thing.rmdir()
    thing.write_bytes(CONTENT[:-1])
    assert fetch(archive(server, "good")).read_bytes() == CONTENT
    assert "wrong checksum" in capsys.readouterr().out


@ONCE
def test_two_processes_at_once_download_once(server):
    start = multiprocessing.get_context("spawn")
    both = [start.Process(target=fetch, args=[archive(server, "good")]) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert files_left() == ["thing.gz"] and server.seen == ["good"]


@WHOLE
def test_data_folder_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("NBHELPERS_DATA", str(tmp_path / "file"))
    with pytest.raises(WriteError, match=r"file.*cannot be written.*NBHELPERS_DATA"):
        fetch(archive(server, "good"))


@WHOLE
def test_full_disk_is_named_and_nothing_is_left(server, capsys):
    with full_disk(), pytest.raises(WriteError, match="Free some space"):
        fetch(archive(server, "good"))
    assert files_left() == []


@WHOLE
def test_what_is_written_takes_its_place_only_when_complete(tmp_path):
    path = tmp_path / "folder" / "notes.txt"
    with sources.written(path) as unfinished:
        unfinished.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), sources.written(path) as unfinished:
        unfinished.write_text("half of the sec")
        raise ZeroDivisionError
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]
    killed, others = (path.with_name(f"notes.txt.part{n}") for n in (2**31 - 1, os.getppid()))
    for left in (killed, others):
        left.touch()
    with sources.written(path) as unfinished:
        unfinished.write_text("second")
    assert not killed.exists() or os.name == "nt"
    assert others.exists() and path.read_text() == "second"


def test_folders_count_from_the_project(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # as a notebook, which runs in a folder of its own
    for name, folder, default in (
        ("NBHELPERS_DATA", sources.data_folder, "data"),
        ("NBHELPERS_ARTIFACTS", sources.artifacts_root, "artifacts"),
    ):
        monkeypatch.setenv(name, "elsewhere")
        assert folder() == sources.project_folder() / "elsewhere"
        monkeypatch.delenv(name)
        assert folder() == sources.project_folder() / default
