"""A real JupyterLab, a real kernel and a real browser, for the tests in this folder.

`make test-browser` runs them; they are skipped where there is no Playwright or no browser.
"""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
import small_models
from drawing import PICTURES, SECONDS, run_cell

from nbhelpers import data, profile, sources

ROOT = Path(__file__).resolve().parents[2]
CELL = """
from pathlib import Path
from handwriting import models, pad
reader = models.reader("lenet", folder=Path({folder!r}))
{more}
drawing = pad.{pad}
drawing
""".strip()
ENVIRONMENT = dict(os.environ)  # before tests/conftest.py moves the data folder


@pytest.fixture(scope="session")
def lenet(tmp_path_factory):
    """A folder with a small LeNet, and images that it has not learned from."""
    folder = tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NBHELPERS_DATA", "NBHELPERS_MIRROR"):
            if name in ENVIRONMENT:
                patch.setenv(name, ENVIRONMENT[name])
        patch.setenv("NB_PROFILE", "full")
        patch.setenv("NB_DEVICE", "cpu")
        mirror = Path(ENVIRONMENT.get("NBHELPERS_MIRROR", "no mirror"))
        here = all(  # nothing is fetched from the network
            sources.cached_path(archive).exists() or (mirror / archive.path).exists()
            for archive in data.mnist_archives()
        )
        patch.setenv("NBHELPERS_SAMPLE", "auto" if here else "always")
        dataset = small_models.lenet(profile.current(), folder)
    return folder, dataset.validation


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab on a free port, with a folder and settings of its own: its address and both."""
    folder = tmp_path_factory.mktemp("notebooks")
    own = tmp_path_factory.mktemp("settings")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **ENVIRONMENT,
        "NBHELPERS_DATA": str(folder / "data"),
        **{
            name: str(own / name.lower())
            for name in (
                "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
                "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR",
            )
        },
    }  # fmt: skip
    for name in ("NB_HEADLESS", "NB_PROFILE", "NB_DEVICE"):
        environment.pop(name, None)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password=",
        "--ip=127.0.0.1", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    settings = own / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    PICTURES.mkdir(parents=True, exist_ok=True)
    log = PICTURES / "jupyterlab.log"
    with log.open("w") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file, cwd=ROOT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(4 * SECONDS):
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, f"JupyterLab has ended; see {log}"
                time.sleep(0.25)
        else:
            pytest.fail(f"JupyterLab does not answer; see {log}")
        yield address, folder, settings
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="session")
def browser():
    """Chromium: the machine's own, else Playwright's."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
    )
    names = ("chromium", "chromium-browser", "google-chrome")
    own = next(filter(None, map(shutil.which, names)), None)
    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    arguments += ["--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as driver:
        try:
            started = driver.chromium.launch(executable_path=own, args=arguments)
        except playwright.Error as error:
            pytest.skip(f"no browser starts ({str(error).splitlines()[0]}): playwright install")
        yield started
        started.close()


@pytest.fixture(scope="module")
def new_page(browser):
    """A function that opens a page; what goes wrong in its JavaScript fails the test."""
    opened, errors = [], []

    def new(width=1100, height=950, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(1000 * SECONDS)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        opened.append(context)
        return page

    yield new
    for context in opened:
        context.close()
    assert not errors


@pytest.fixture(scope="module")
def show(new_page, lab, lenet):
    """A function that runs one cell in a notebook of its own and returns the page with the pad."""
    address, folder, settings = lab
    numbers = itertools.count()

    def shown(pad="Pad(reader)", theme="JupyterLab Light", more="", **options):
        path = folder / f"pad{next(numbers)}.ipynb"
        cell = CELL.format(folder=str(lenet[0]), more=more, pad=pad)
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(made, path)
        page = new_page(**options)
        (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
        page.goto(f"{address}/lab/tree/{path.name}?reset", wait_until="domcontentloaded")
        run_cell(page)
        return page

    return shown
