import contextlib
import hashlib
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CONTENT

from nbhelpers import sources
from nbhelpers.sources import Archive, SourceError, Unavailable, cached_path, fetch

MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


def archive(server, *moods):
    return Archive("set/thing.gz", MD5, tuple(f"{server.url}/{mood}/thing.gz" for mood in moods))


def files_left():
    folder = cached_path(Archive("set/thing.gz", MD5, ())).parent
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def resumed_about_halfway(request):
    """All that had arrived was kept, but for the chunk that was under way."""
    return len(CONTENT) // 2 - sources.CHUNK_BYTES < request[1] <= len(CONTENT) // 2


def test_good_download(server):
    path = fetch(archive(server, "good"))
    assert path.read_bytes() == CONTENT
    assert files_left() == ["thing.gz"]


@pytest.mark.promise("Data", "Nothing is fetched twice, not even by two processes at once")
def test_second_fetch_asks_no_server(server):
    fetch(archive(server, "good"))
    fetch(archive(server, "good"))
    assert len(server.seen) == 1


def test_progress_bar_is_shown(server, capsys):
    fetch(archive(server, "good"))
    assert "thing.gz" in capsys.readouterr().err


@pytest.mark.promise(
    "Data", "A download that breaks off goes on where it stopped, in a later run too"
)
def test_truncated_download_resumes_at_next_source(server, capsys):
    path = fetch(archive(server, "truncated", "good"))
    assert path.read_bytes() == CONTENT
    assert server.seen[0] == ("truncated", 0)
    assert resumed_about_halfway(server.seen[1])
    assert "broke off" in capsys.readouterr().out


@pytest.mark.promise(
    "Data", "A download that breaks off goes on where it stopped, in a later run too"
)
def test_interrupted_download_resumes_in_the_next_run(server):
    with pytest.raises(Unavailable, match="broke off"):
        fetch(archive(server, "breaks-once"))
    assert files_left() == ["thing.gz.part"]
    path = fetch(archive(server, "breaks-once"))
    assert path.read_bytes() == CONTENT
    assert resumed_about_halfway(server.seen[-1])


def test_resume_from_a_server_without_ranges_starts_afresh(server):
    partial = cached_path(archive(server)).with_name("thing.gz.part")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT[:500])
    assert fetch(archive(server, "no-range")).read_bytes() == CONTENT


@pytest.mark.parametrize("rubbish", [b"x" * 500, b"x" * (len(CONTENT) + 5)])
def test_resume_of_a_bad_part_starts_afresh(server, rubbish):
    partial = cached_path(archive(server)).with_name("thing.gz.part")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(rubbish)
    assert fetch(archive(server, "good")).read_bytes() == CONTENT


@pytest.mark.promise("Data", "Only an archive whose bytes have the published checksum is used")
def test_wrong_checksum_tries_the_next_source_and_says_so(server, capsys):
    assert fetch(archive(server, "corrupted", "good")).read_bytes() == CONTENT
    assert f"wrong checksum, expected {MD5}" in capsys.readouterr().out


@pytest.mark.promise("Data", "Only an archive whose bytes have the published checksum is used")
def test_corrupted_everywhere_leaves_nothing(server):
    with pytest.raises(Unavailable, match="wrong checksum"):
        fetch(archive(server, "corrupted"))
    assert files_left() == []


@pytest.mark.promise(
    "Hostile conditions",
    "A server that stalls or says nothing is left for the next source within seconds",
)
@pytest.mark.parametrize("mood", ["stalled", "silent", "trickling"])
def test_a_stalling_server_is_given_up_quickly(server, mood):
    started = time.perf_counter()
    with pytest.raises(Unavailable, match=r"stalled|cannot be reached"):
        fetch(archive(server, mood))
    assert time.perf_counter() - started < 2.5


@pytest.mark.promise(
    "Hostile conditions",
    "A server that stalls or says nothing is left for the next source within seconds",
)
def test_a_server_that_takes_no_connection_is_given_up_quickly(monkeypatch):
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as busy, contextlib.ExitStack() as stack:
        for _ in range(4):  # its queue is full
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())
        url = "http://{}:{}/thing.gz".format(*busy.getsockname())
        started = time.perf_counter()
        with pytest.raises(Unavailable, match="cannot be reached"):
            fetch(Archive("set/thing.gz", MD5, (url,)))
        assert time.perf_counter() - started < 1.5


@pytest.mark.promise("Data", "Only an archive whose bytes have the published checksum is used")
@pytest.mark.parametrize("lie", ["error-page", "too-short", "endless", "trickling"])
def test_a_source_that_lies_is_left_for_the_next(server, lie, monkeypatch, capsys):
    monkeypatch.setattr(sources, "MOST_BYTES", 2_000_000)
    assert fetch(archive(server, lie, "good")).read_bytes() == CONTENT
    answer = "stalled" if lie == "trickling" else "wrong checksum"
    assert answer in capsys.readouterr().out
    assert files_left() == ["thing.gz"]


def test_a_mirror_that_cannot_be_read_falls_back_to_the_internet(
    server, tmp_path, monkeypatch, capsys
):
    (tmp_path / "stick/set/thing.gz").mkdir(parents=True)  # reading it fails, as a broken disk does
    monkeypatch.setenv("NBHELPERS_MIRROR", str(tmp_path / "stick"))
    partial = cached_path(archive(server)).with_name("thing.gz.part")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT[:500])
    assert fetch(archive(server, "good")).read_bytes() == CONTENT
    assert str(tmp_path / "stick/set/thing.gz") in capsys.readouterr().out
    assert server.seen == [("good", 500)], "what an earlier download has left is not lost"


def test_relative_folders_count_from_the_project(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # as a notebook, which runs in a folder of its own
    for name, folder in (
        ("NBHELPERS_DATA", sources.data_folder), ("NBHELPERS_ARTIFACTS", sources.artifacts_root),
    ):  # fmt: skip
        monkeypatch.setenv(name, "elsewhere")
        assert folder() == sources.project_folder() / "elsewhere"


def test_not_found_names_the_url(server):
    with pytest.raises(Unavailable, match=r"missing/thing.gz: HTTP status 404"):
        fetch(archive(server, "missing"))


@pytest.mark.promise(
    "Hostile conditions",
    "A server that stalls or says nothing is left for the next source within seconds",
)
def test_no_network_is_known_within_seconds():
    dead = Archive("set/thing.gz", MD5, ("http://127.0.0.1:9/a", "http://name.invalid/a"))
    started = time.perf_counter()
    with pytest.raises(Unavailable, match="NBHELPERS_MIRROR"):
        fetch(dead)
    assert time.perf_counter() - started < 10


@pytest.mark.promise(
    "Hostile conditions",
    "A server that stalls or says nothing is left for the next source within seconds",
)
def test_a_silent_name_server_is_given_up_quickly(monkeypatch):
    monkeypatch.setattr(sources.socket, "getaddrinfo", lambda *_, **__: time.sleep(30))
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 1)
    started = time.perf_counter()
    with pytest.raises(Unavailable, match="cannot be reached"):
        fetch(Archive("set/thing.gz", MD5, ("http://a.invalid/1", "http://a.invalid/2")))
    assert time.perf_counter() - started < 1.4  # the same host is not waited for twice
    with pytest.raises(Unavailable, match="cannot be reached"):
        fetch(Archive("set/thing.gz", MD5, ("http://b.invalid/1",)))
    assert time.perf_counter() - started < 2  # and for another name not as long


@pytest.mark.promise("Data", "A folder or URL of your own can stand in for the internet")
def test_mirror_folder_comes_before_the_internet(server, tmp_path, monkeypatch):
    (tmp_path / "stick/set").mkdir(parents=True)
    (tmp_path / "stick/set/thing.gz").write_bytes(CONTENT)
    monkeypatch.setenv("NBHELPERS_MIRROR", str(tmp_path / "stick"))
    assert fetch(archive(server, "good")).read_bytes() == CONTENT
    assert server.seen == []


@pytest.mark.promise("Data", "A folder or URL of your own can stand in for the internet")
def test_mirror_may_be_a_url(server, monkeypatch):
    monkeypatch.setenv("NBHELPERS_MIRROR", f"{server.url}/good/")
    assert fetch(Archive("set/thing.gz", MD5, ())).read_bytes() == CONTENT


@pytest.mark.promise("Data", "Only an archive whose bytes have the published checksum is used")
def test_damaged_mirror_falls_back_to_the_internet(server, tmp_path, monkeypatch, capsys):
    (tmp_path / "stick/set").mkdir(parents=True)
    (tmp_path / "stick/set/thing.gz").write_bytes(CONTENT[:-1])
    monkeypatch.setenv("NBHELPERS_MIRROR", str(tmp_path / "stick"))
    assert fetch(archive(server, "good")).read_bytes() == CONTENT
    assert "wrong checksum" in capsys.readouterr().out


@pytest.mark.promise("Data", "Only an archive whose bytes have the published checksum is used")
def test_damaged_cache_is_fetched_again(server, capsys):
    path = fetch(archive(server, "good"))
    path.write_bytes(b"damaged")
    assert fetch(archive(server, "good")).read_bytes() == CONTENT
    assert "the cached copy is damaged" in capsys.readouterr().out


def _fetch_in_process(url):
    print(fetch(Archive("set/thing.gz", MD5, (url,))).read_bytes() == CONTENT)


@pytest.mark.promise("Data", "Nothing is fetched twice, not even by two processes at once")
def test_two_processes_at_once_download_once(server):
    start = multiprocessing.get_context("spawn")
    both = [
        start.Process(target=_fetch_in_process, args=(f"{server.url}/good/thing.gz",))
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert files_left() == ["thing.gz"]
    assert len(server.seen) == 1


@pytest.mark.promise(
    "Hostile conditions",
    "A full disk and a read-only folder are named, and leave nothing half-written",
)
def test_data_folder_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("NBHELPERS_DATA", str(tmp_path / "file"))
    with pytest.raises(SourceError, match=r"file.*cannot be written.*NBHELPERS_DATA"):
        fetch(archive(server, "good"))


@pytest.mark.promise(
    "Hostile conditions",
    "A full disk and a read-only folder are named, and leave nothing half-written",
)
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
def test_read_only_data_folder_is_named(server, tmp_path):
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(SourceError, match="cannot be written to"):
        fetch(archive(server, "good"))


@pytest.mark.promise(
    "Hostile conditions",
    "A full disk and a read-only folder are named, and leave nothing half-written",
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_full_disk_is_named_and_nothing_is_left(server, tmp_path):
    # A limit on file sizes makes the operating system refuse to write, as a full disk does.
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from nbhelpers.sources import Archive, fetch
fetch(Archive("set/thing.gz", {MD5!r}, ({server.url + "/good/thing.gz"!r},)))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "SourceError" in answer.stderr
    assert "Free some space" in answer.stderr
    assert files_left() == []


def test_unknown_sample_mode_is_refused(monkeypatch):
    monkeypatch.setenv("NBHELPERS_SAMPLE", "perhaps")
    with pytest.raises(SourceError, match="auto, never or always"):
        sources.sample_mode()


def test_default_data_folder_is_in_the_project(monkeypatch):
    monkeypatch.delenv("NBHELPERS_DATA")
    assert sources.data_folder() == Path(__file__).resolve().parent.parent / "data"


@pytest.mark.promise(
    "Hostile conditions",
    "A full disk and a read-only folder are named, and leave nothing half-written",
)
def test_what_is_written_takes_its_place_only_when_complete(tmp_path):
    path = tmp_path / "folder" / "notes.txt"
    with sources.written(path) as unfinished:
        unfinished.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), sources.written(path) as unfinished:
        unfinished.write_text("half of the sec")
        raise ZeroDivisionError
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]
