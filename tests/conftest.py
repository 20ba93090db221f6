"""What several tests use: a data folder of their own, a real HTTP server with moods, and promises.

A test that proves what the README promises carries the mark `promise`: see `promise.py`.
"""

import contextlib
import gc
import http.server
import shutil
import threading
import time
from pathlib import Path

import pytest

from course import promises
from nbhelpers import sources

CONTENT = bytes(range(256)) * 4_000  # 1 MB
# They take longest, and so begin first: at the end no worker should be left with one of them alone.
LONG = ("test_hostile", "test_parallel", "test_site", "test_checkpoints", "test_vision")


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    """Keep every test away from the user's downloads, mirror and results."""
    monkeypatch.setenv("NBHELPERS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NBHELPERS_ARTIFACTS", str(tmp_path / "artifacts"))
    for name in ("NBHELPERS_MIRROR", "NBHELPERS_SAMPLE", "NB_PROFILE", "NB_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)  # of a workflow
    sources._silent_hosts.clear()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which runs take place instead of in this project; see `tiny_project.py`."""
    import tiny_project

    return tiny_project.make(tmp_path, monkeypatch)


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """A place for published models, so that those of the course are left out."""
    monkeypatch.setattr("handwriting.cards.REFERENCE", tmp_path / "published")
    return tmp_path / "published"


@pytest.fixture
def shown(monkeypatch):
    """What was handed to the notebook to show: (data, metadata)."""
    calls = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, metadata=None, **_: calls.append((data, metadata))
    )
    return calls


@pytest.fixture
def folder(tmp_path):
    """A folder with the files of a small LeNet, to be changed or damaged."""
    import small_models

    return Path(shutil.copytree(small_models.saved()[0], tmp_path / "models"))


class Moody(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the first part of the path says how."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        mood = self.path.split("/")[1]
        self.server.seen.append(mood)
        if mood == "missing":
            return self.send_error(404)
        if mood == "silent":
            return time.sleep(self.server.patience)
        content = bytes(len(CONTENT)) if mood == "corrupted" else CONTENT
        self.send_response(200)
        length = "Content-Length", len(content)
        self.send_header(*(("Connection", "close") if mood == "endless" else length))
        self.end_headers()
        if mood in ("endless", "trickling"):
            with contextlib.suppress(OSError):  # whoever listens has heard enough
                for _ in range(1_000):
                    self.wfile.write(bytes(1 << 16) if mood == "endless" else b"x")
                    time.sleep(0 if mood == "endless" else 0.02)
            self.close_connection = True
        elif mood == "truncated":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif mood == "stalled":
            self.wfile.write(content[:1000])
            time.sleep(self.server.patience)
            self.close_connection = True
        else:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server at `server.url`; `server.seen` lists the mood of each request."""
    monkeypatch.setattr(sources, "PATIENCE", 0.8)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    server.seen, server.patience = [], 3
    server.url = f"http://127.0.0.1:{server.server_port}"
    how = {"kwargs": {"poll_interval": 0.02}, "daemon": True}
    threading.Thread(target=server.serve_forever, **how).start()
    yield server
    server.shutdown()
    server.server_close()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONG)
    for item in items:
        for mark in item.iter_markers("promise"):  # into the JUnit file, of skipped tests too
            group, text = mark.args
            assert group in promises.GROUPS, f"{item.nodeid}: {group}"
            item.user_properties.append(("promise", f"{group}: {text}"))


def pytest_collection_finish():
    """Spare later garbage collections what was imported: hundreds of thousands of objects."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()  # libraries complain about what is left when Python ends
