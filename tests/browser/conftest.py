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
from drawing import PICTURES, ROOT, SECONDS, run_cell

from handwriting import models
from nbhelpers import data, profile, sources, tamil

CELL = """
from handwriting import models, pad
reader = models.reader("{model}")
drawing = pad.{pad}
drawing
""".strip()
ENVIRONMENT = dict(os.environ)  # before tests/conftest.py moves the data folder


@pytest.fixture(scope="session")
def data_sets(tmp_path_factory):
    """MNIST and HPL Tamil, or what stands in where they are not here: nothing is fetched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NBHELPERS_DATA", raising=False)
        for name in ("NBHELPERS_DATA", "NBHELPERS_MIRROR"):
            if name in ENVIRONMENT:
                patch.setenv(name, ENVIRONMENT[name])
        patch.setenv("NB_PROFILE", "full")
        patch.setenv("NB_DEVICE", "cpu")
        run = profile.current()
        mirror = Path(ENVIRONMENT.get("NBHELPERS_MIRROR", "no mirror"))

        def here(archives):
            return any(
                sources.cached_path(one).exists() or (mirror / one.path).exists()
                for one in archives
            )

        real = all(here([archive]) for archive in data.mnist_archives())
        patch.setenv("NBHELPERS_SAMPLE", "auto" if real else "always")
        digits = data.mnist(run)
        real = here(tamil.TRAIN) and here(tamil.TEST)
        patch.setenv("NBHELPERS_SAMPLE", "auto" if real else "always")
        if not real:
            patch.setenv("NBHELPERS_DATA", str(tmp_path_factory.mktemp("data")))
        return {"digits": digits, "tamil": tamil.tamil(run, proportions="adapted")}


@pytest.fixture(scope="session")
def readers():
    """The models that read: the course's own, or better ones that were trained here."""
    return {"digits": models.reader("digits"), "tamil": models.reader("tamil")}


@pytest.fixture(scope="session")
def easy(readers, data_sets):
    """Held-out images of four digits that the model is sure about, by their text."""
    chosen, held = {}, data_sets["digits"].validation
    for image, label in zip(held.images, held.labels.tolist(), strict=True):
        text = held.classes[label]
        if text in "2357" and text not in chosen:
            answer = readers["digits"].read(255 - image.numpy())
            if answer.sure and answer.choices[0].text == text:
                chosen[text] = image
    assert len(chosen) == 4
    return chosen


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
def show(new_page, lab):
    """A function that runs one cell in a notebook of its own and returns the page with the pad."""
    address, folder, settings = lab
    numbers = itertools.count()

    def shown(pad="Pad(reader)", theme="JupyterLab Light", model="digits", cell="", **options):
        path = folder / f"pad{next(numbers)}.ipynb"
        cell = cell or CELL.format(model=model, pad=pad)
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(made, path)
        page = new_page(**options)
        (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
        place = f"lab/workspaces/{path.stem}/tree/{path.name}"  # tabs of other pages stay there
        page.goto(f"{address}/{place}?reset", wait_until="domcontentloaded")
        run_cell(page)
        return page

    return shown
