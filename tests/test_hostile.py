"""A full disk, a read-only course, no home folder, odd paths, locales and line ends.

Most are made real in a process of its own; those that need several seconds share one.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import onnx
import promise
import pytest
import tiny_project
import torch
from as_files import encoded, full_disk
from nbformat import v4
from PIL import Image
from small_models import GRAPH, RUN, saved, trained
from source import PACKAGES, ROOT, lay, modules

from course import execute, readme, results, stamp
from handwriting import mine, saving
from nbhelpers import records, sources, training
from nbhelpers.tamil import alphabet

NO_UTF8 = {
    "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii",
}  # fmt: skip
# Our code, and no other, raises an error where it relies on the encoding of the machine.
STRICT = """
import warnings
warnings.simplefilter("ignore", EncodingWarning)
warnings.filterwarnings("error", category=EncodingWarning, module="nbhelpers")
"""


def checkout(folder, *cells):
    """Make a small copy of the course: the package, its data, and a notebook of these cells."""
    names = [
        *ROOT.glob("nbhelpers/**/*.[jpt]*"), *ROOT.glob("handwriting/**/*.[pjc]*"),
        *ROOT.glob("course/*.py"), *ROOT.glob("data/*.*"),
        ROOT / "course/site/results.md", *ROOT.glob("results/*/*.json"),
        *ROOT.glob("results/*.json"), *ROOT.glob("requirements.*"), ROOT / "notebooks/matplotlibrc",
        *(ROOT / name for name in ("Makefile", "README.md", "pyproject.toml")),
    ]  # fmt: skip
    lay(folder, {path.relative_to(ROOT): path.read_bytes() for path in names})
    lay(folder, {"course/site/build.py": tiny_project.SITE})
    tiny_project.write(folder, _00_tiny=cells)
    return folder


def settings(folder, **others):
    """Return the environment of a process in a copy of the course; a None among `others` unsets."""
    ours = {"PYTHONPATH": str(folder), "NB_PROFILE": "smoke", "NB_DEVICE": "cpu"}
    theirs = [n for n in os.environ if n.startswith("XDG_") or n.lower().endswith("_proxy")]
    known = os.environ | dict.fromkeys(theirs) | ours | {"OMP_NUM_THREADS": "1"} | others
    return {name: value for name, value in known.items() if value is not None}


def python(folder, *arguments, before=(), **others):
    """Run Python in `folder` and return what became of it."""
    return subprocess.run(
        [*before, sys.executable, *arguments], cwd=folder, env=settings(folder, **others),
        timeout=240, capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip


def said(answer):
    return answer.stdout + answer.stderr


def without_promises(text):
    """Return a README without the table of what was tested, which no copy of the course has."""
    return re.sub("<!-- promises: begin -->.*?<!-- promises: end -->", "", text, flags=re.S)


PICTURE = """
import os
from matplotlib import pyplot as plt
from nbhelpers import data, profile, records, reporting, vision
from nbhelpers.tamil import alphabet, font
font.use_in_plots()
figure, axis = plt.subplots()
axis.set_title('கி')
reporting.show(figure, 'கி')
run = profile.current()
records.record(run, data.mnist(run), '00_tiny', [], words='கி')
print('கி', alphabet.named('கி'), os.environ['NB_HEADLESS'])
"""
TABLES = """
if False:
    from handwriting import pad
from nbhelpers.tamil import alphabet
print(run.epochs("linear"), alphabet.pen_strokes()[:9], alphabet.class_table())
"""
FIRST_FONTS = "Matplotlib is building the font cache; this may take a moment.\n"
EVERYTHING = f"""
{STRICT}
from course.__main__ import main
for command in (["doctor"], ["readme"], ["run"], ["run"]):
    print("status", main(command), flush=True)
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A copy of the course, as on Windows, in an odd place, and what running it there said."""
    above = tmp_path_factory.mktemp("odd")
    folder = checkout(above / "பாடம் 1, a course", STRICT, PICTURE, TABLES)
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "Makefile":  # `make` reads no others
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (above / "none").mkdir(mode=0o555)  # so that no one but root can make a home in it
    others = {
        "HOME": str(above / "none" / "here"),
        "NBHELPERS_SAMPLE": "always", "NBHELPERS_MIRROR": "",
        "NBHELPERS_DATA": str(above / "data"), "NBHELPERS_ARTIFACTS": str(above / "artifacts"),
    }  # fmt: skip
    strictly = {"PYTHONWARNDEFAULTENCODING": "1"}
    answer = python(folder, "-c", EVERYTHING, **NO_UTF8, **strictly, **others)
    return folder, answer, others


@promise.hostile("The course runs in a folder with spaces and Tamil letters in its name")
def test_a_folder_with_spaces_and_tamil_letters(odd):
    folder, answer, _ = odd
    assert answer.stdout.count("status 0") == 4, said(answer)
    assert "unchanged, not executed again" in answer.stdout
    made = {path.name for path in (folder / "build" / "smoke-cpu").iterdir()}
    assert made - {"run.lock"} == {"00_tiny.ipynb", "00_tiny.json", "together.json"}


@promise.hostile("A locale that is not UTF-8 changes nothing in files and stops no command")
def test_a_locale_that_is_not_utf8(odd):
    folder, answer, others = odd
    assert "00_tiny \\u2026" in answer.stdout, "printed as far as the terminal can"
    executed = nbformat.read(folder / "build" / "smoke-cpu" / "00_tiny.ipynb", as_version=4)
    shown = "".join(output.get("text", "") for output in executed.cells[1].outputs)
    assert f"கி {alphabet.named('கி')} 1\n" in shown
    (record,) = Path(others["NBHELPERS_ARTIFACTS"]).glob("*/records/00_tiny.json")
    assert json.loads(record.read_text(encoding="utf-8"))["words"] == "கி"
    made = (folder / "README.md").read_text(encoding="utf-8")
    assert without_promises(made) == without_promises(readme.updated(ROOT)[ROOT / "README.md"])


@promise.hostile("Without a home folder the course runs all the same")
def test_no_home_folder(odd):
    folder, answer, _ = odd
    assert "Traceback" not in answer.stderr and "not a writable location" not in answer.stderr
    executed = nbformat.read(folder / "build" / "smoke-cpu" / "00_tiny.ipynb", as_version=4)
    complaints = [o.text for o in executed.cells[1].outputs if o.get("name") == "stderr"]
    assert not complaints or complaints == [FIRST_FONTS], "a new home has no list of fonts"


@pytest.mark.skipif(sys.platform == "win32", reason="its stand-in for .venv is a shell script")
@promise.hostile("The course runs in a folder with spaces and Tamil letters in its name")
def test_make_in_a_folder_with_spaces(odd):
    folder, _, others = odd
    npm = "package.json", "package-lock.json", "node_modules/.package-lock.json"
    lay(folder / "course" / "site", dict.fromkeys(npm, ""))
    lay(folder / ".venv", {"bin/python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', "ready": ""})
    (folder / ".venv" / "bin" / "python").chmod(0o755)
    for target, expected in (("help", "make run"), ("run", "unchanged, not executed again")):
        answer = subprocess.run(
            ["make", target, "PYTHON=.venv/bin/python", "NOTEBOOKS=00"], cwd=folder,
            env=settings(folder, **others), capture_output=True, encoding="utf-8",
        )  # fmt: skip
        assert answer.returncode == 0 and expected in answer.stdout, said(answer)


OTHER_KINDS = ("Image", "tarfile", "os")  # whose `open` is not for text


@promise.hostile("A locale that is not UTF-8 changes nothing in files and stops no command")
def test_every_text_file_is_opened_with_its_encoding():
    found = []
    for file, text in modules(*PACKAGES).items():
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or any(k.arg == "encoding" for k in node.keywords):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            modes = [n.value for a in node.args for n in ast.walk(a) if isinstance(n, ast.Constant)]
            others = getattr(getattr(node.func, "value", None), "id", "") in OTHER_KINDS
            opens = name == "open" and not others and not any("b" in str(mode) for mode in modes)
            if opens or name in ("read_text", "write_text"):
                found.append(f"{file}:{node.lineno}")
    assert not found


@promise.hostile("A checkout with Windows line ends works the same")
def test_windows_line_ends(odd, monkeypatch):
    folder, _, others = odd
    here = RUN.epochs("linear"), alphabet.pen_strokes()[:9], alphabet.class_table()
    assert tiny_project.printed(folder, "00_tiny") == " ".join(map(str, here)) + "\n"
    for name, value in others.items():  # which the stamp covers
        monkeypatch.setenv(name, value)
    digest = results.read(folder / "build" / RUN.place / "00_tiny.json")["stamp"]
    assert digest == stamp.stamp(folder / "notebooks" / "00_tiny.ipynb", RUN.place, ROOT)
    after = (folder / "README.md").read_bytes()
    assert after.count(b"\r\n") == after.count(b"\n") > 100, "its lines still end as they did"


@promise.hostile("Of two runs at once, the second says so and leaves the first alone")
def test_two_runs_at_once(tmp_path):
    waits = """import pathlib, time
end = time.monotonic() + 60  # so that a run which is let in by mistake fails, and does not hang
while not pathlib.Path('../go').exists() and time.monotonic() < end: time.sleep(0.05)"""
    folder = checkout(tmp_path / "course", waits, "print('done')")
    run = [sys.executable, "-m", "course", "run"]
    how = {"cwd": folder, "env": settings(folder), "encoding": "utf-8"}
    with subprocess.Popen(run, stdout=subprocess.PIPE, **how) as first:
        try:
            assert first.stdout.readline()  # the first has begun, and keeps others out
            second = python(folder, "-m", "course", "run")
        finally:
            (folder / "go").touch()
        rest = first.stdout.read()
    assert second.returncode == 1
    assert "another run is going on" in second.stderr and "Traceback" not in second.stderr
    assert first.returncode == 0, rest
    assert tiny_project.printed(folder, "00_tiny") == "done\n"
    assert not list(folder.rglob("*.part"))


@promise.hostile("A full disk and a read-only folder are named, and leave nothing half-written")
def test_a_full_disk_while_results_are_written(tmp_path, monkeypatch, capsys):
    model, digits, result = trained()
    where, card, _ = saved()
    graph, tiny = onnx.load(where / GRAPH), tmp_path / "tiny.ipynb"
    monkeypatch.setattr(saving, "exported", lambda *_: graph)
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("print('x' * 10_000)")]), tiny)
    paper = Image.effect_noise((90, 90), 2).point(lambda value: value + 110)  # large, as a file
    paper.paste(0, (40, 20, 50, 70))
    state = {"weights": torch.rand(100_000)}

    def write(times):
        yield lambda: records.record(RUN, digits, "01", [result] * times)
        yield lambda: saving.save(model, card, digits, tmp_path / "models")
        yield lambda: training.save_checkpoint(tmp_path / "state", state | {"n": times})
        yield lambda: mine.keep(encoded(paper), "7", "mnist", tmp_path / "mine")
        yield lambda: execute.notebook(tiny, tmp_path / "build" / "tiny.ipynb")

    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    for action in write(1):
        action()
    before = files()
    for action in write(2):
        with full_disk(), pytest.raises(sources.WriteError, match="Free some space") as error:
            action()
        assert str(tmp_path) in str(error.value)
    assert files() == before


USES = """
import importlib, os, pkgutil, sys
import torch
from matplotlib import pyplot as plt
import handwriting, nbhelpers
for room in (nbhelpers, handwriting):
    for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
from course import doctor, execute, readme
from handwriting import saving
from nbhelpers import data, profile, recipes, records, reporting, sources, vision
from nbhelpers.tamil import archive, font
from course.__main__ import main
torch.hub.get_dir()
font.use_in_plots()
figure, axis = plt.subplots()
axis.set_title("கி")
reporting.show(figure, "கி")
learn = vision.learner  # fastai is imported, with its settings
run = profile.current()
digits = data.mnist(run)
text = sources.Archive("a.txt", "md5:" + sys.argv[1], ())
print("read", sources.fetch(text).read_text(encoding="utf-8"))
del os.environ["NBHELPERS_DATA"]
for action in (
    lambda: sources.fetch(text), lambda: records.record(run, digits, "01", []),
    archive.characters, readme.write,
):
    try:
        action()
        print("was written")
    except (sources.SourceError, sources.WriteError) as error:
        print("refused", error)
print("status", main(["run"]), main(["doctor"]))
"""


def as_a_stranger():
    """Return how a command begins that is run without the right to write here, or skip the test.

    Root may write everywhere, so it becomes a user whom the system does not know, but who may read
    everything, the interpreter of root included.
    """
    if os.geteuid() != 0:
        return ()
    allowed = "+dac_read_search"
    stranger = (
        "setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
        f"--inh-caps={allowed}", f"--ambient-caps={allowed}",
    )  # fmt: skip
    if not shutil.which("setpriv") or subprocess.run([*stranger, "true"]).returncode:
        pytest.skip("root may write everywhere, and cannot become someone else here")
    return stranger


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
@promise.hostile("A read-only course can be read, and says which setting lets it write")
def test_a_read_only_course(tmp_path):
    stranger = as_a_stranger()
    folder = checkout(tmp_path / "course", "print(1)")
    lay(tmp_path, {"mirror/a.txt": "the data"})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere").chmod(0o777)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555)
    try:
        answer = python(
            folder, "-c", USES, hashlib.md5(b"the data").hexdigest(), before=stranger,
            HOME=None if stranger else str(folder), NBHELPERS_SAMPLE="always",
            NBHELPERS_MIRROR=str(tmp_path / "mirror"), NBHELPERS_ARTIFACTS=None,
            NBHELPERS_DATA=str(tmp_path / "elsewhere"),
        )  # fmt: skip
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
    assert answer.returncode == 0 and "Traceback" not in answer.stderr, said(answer)
    assert "read the data" in answer.stdout
    refused = [line for line in answer.stdout.splitlines() if line.startswith("refused")]
    expected = ("set NBHELPERS_DATA", "set NBHELPERS_ARTIFACTS", "set NBHELPERS_DATA", "a copy of")
    assert len(refused) == 4, said(answer)
    for line, advice in zip(refused, expected, strict=True):
        assert "cannot be written to (Permission denied)" in line and advice in line
    assert "status 1 0" in answer.stdout
    assert answer.stdout.count("(cannot be written to: set NBHELPERS_") == 2, "says doctor"
    assert "work in a copy of the course in a folder that can be" in answer.stderr
    assert not list(folder.rglob("*.part")) and not (folder / "build").exists()
