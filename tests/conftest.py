"""What several tests use: a data folder of their own, and a real HTTP server with moods."""

import http.server
import threading
import time

import pytest

from nbhelpers import sources

CONTENT = bytes(range(256)) * 4_000  # 1 MB


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    """Keep every test away from the user's downloads, mirror and results."""
    monkeypatch.setenv("NBHELPERS_DATA", str(tmp_path / "data"))
    for name in ("NBHELPERS_MIRROR", "NBHELPERS_SAMPLE", "NB_PROFILE", "NB_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    sources._silent_hosts.clear()


class Moody(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the first part of the path says how."""

    protocol_version = "HTTP/1.1"
    requests: list

    def do_GET(self):
        mood = self.path.split("/")[1]
        start = 0
        if (wanted := self.headers.get("Range")) and mood != "no-range":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.server.seen.append((mood, start))
        if mood == "missing":
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_error(416)
            return
        if mood == "silent":
            time.sleep(self.server.patience)
            return
        content = CONTENT[start:]
        if mood == "corrupted":
            content = bytes(len(content))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if mood == "truncated" or (mood == "breaks-once" and not start):
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
    """A server at `server.url`; `server.seen` lists (mood, first byte) of each request."""
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(sources, "STALL_SECONDS", 0.5)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    server.seen, server.patience = [], 3
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
