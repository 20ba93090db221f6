"""Build the course's web site from executed notebooks: `make site`. Nothing is executed here.

All sources are put together in a folder beside the result, in the layout of the project, so that
the links between notebooks, README and sources hold. Only a finished site replaces the old one.
"""

import argparse
import html
import re
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

import nbformat
from filelock import FileLock
from jinja2 import Environment, StrictUndefined
from nbconvert.preprocessors import ClearOutputPreprocessor

from course import results
from course.site import texts, training
from handwriting import playground

SITE = Path(__file__).resolve().parent
ROOT = SITE.parent.parent
PACKAGES = SITE / "node_modules"
SHOWN = ("nbhelpers", "nbhelpers/tamil", "handwriting")  # packages in the reference
BESIDES = (
    "LICENSE", "data/*.*", "nbhelpers/**/*.py", "nbhelpers/*.[jt]*", "handwriting/*.py",
    "results/ladder.png",
)  # fmt: skip
BOOK = "reading-handwriting.epub"
WITHOUT = "the boxes “Train it here”, which need the playground; figures stand for them"


class SiteError(RuntimeError):
    """The site cannot be built."""


def build(out: Path, executed: Path | None = None, *, book: bool = False) -> None:
    """Build the site into `out`, and print where it is and what it had to leave out.

    What is in `out` is replaced when the new site is complete. `executed` is a folder with copies
    of notebooks to show instead of the committed ones. As a `book` the course is an EPUB, too,
    without what needs a script. SiteError: Sphinx found a fault, which it has printed.
    """
    started = time.perf_counter()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".site-") as folder:
        work = Path(folder)
        source, page, drawing = work / "source", work / "html", work / "playground"
        notebooks = chosen(executed)
        left_out = [_fonts(source / "_static"), playground.copy(drawing)]
        boxes = source / "_static" / "train"
        left_out.append(WITHOUT if left_out[1] else training.copy(boxes, ROOT))
        _put_together(source, notebooks, playable=left_out[1] is None, book="offered" * book)
        _run_sphinx(source, page, work / "doctrees")
        if book:
            _put_together(work / "book", notebooks, playable=False, book="itself")
            _run_sphinx(work / "book", work / "epub", work / "leaves", "epub")
            _declare_formulas(next((work / "epub").glob("*.epub")), page / BOOK)
        for path in notebooks:  # to download without results: who runs it guesses first
            content = nbformat.read(path, as_version=4)
            without, _ = ClearOutputPreprocessor().preprocess(content, {})
            nbformat.write(without, page / "notebooks" / path.name)
        if left_out[1] is None:
            shutil.copytree(drawing, page / "playground", dirs_exist_ok=True)
        if out.exists():
            out.rename(work / "old")
        page.rename(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    for sentence in filter(None, left_out):
        print(f"left out: {sentence}")
    seconds = time.perf_counter() - started
    print(f"the site: {len(notebooks)} chapters, {size / 1e6:.0f} MB, built in {seconds:.0f} s")
    shown = out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out
    print(f"open {shown / 'index.html'}, or run: python -m http.server -d {shown}")


def chosen(executed: Path | None) -> list[Path]:
    """Return the notebooks to show: executed copies, where they have the same cells as now.

    A copy without its JSON file was not executed to its end.
    """
    found = []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        copy = executed / path.name if executed else path
        whole = copy == path or (copy.exists() and copy.with_suffix(".json").exists())
        found.append(copy if whole and _cells(copy) == _cells(path) else path)
    return found


def _cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in nbformat.read(path, as_version=4).cells]


def _fonts(static: Path) -> str | None:
    """Copy the fonts of fonts.css with their licences; return what is missing, or None."""
    style = SITE / "fonts.css"
    names = re.findall(r'url\("fonts/([^"]+)"\)', style.read_text(encoding="utf-8"))
    files = [path for name in names for path in PACKAGES.glob(f"@fontsource*/*/files/{name}")]
    if len(files) < len(names):
        return (
            "the fonts; Tamil letters need one on the reader's machine "
            "(`make site` fetches them where npm is installed: https://nodejs.org)"
        )
    _copy(style, static / "fonts.css")
    for path in files:
        _copy(path, static / "fonts" / path.name)
        package = path.parents[1]
        _copy(package / "LICENSE", static / "fonts" / f"LICENSE-{package.name}.txt")
    return None


def _put_together(source: Path, notebooks: list[Path], *, playable: bool, book: str = "") -> None:
    """Write all that Sphinx reads into `source`: of a site which offers a book, or of it itself."""
    shutil.copytree(SITE / "static", source / "_static", dirs_exist_ok=True)
    shutil.copytree(SITE / "templates", source / "_templates")
    if book == "itself":
        for name in ("site.css", "language.css"):  # readers of books have styles of their own
            (source / "_static" / name).unlink()
    shutil.copyfile(SITE / "conf.py", source / "conf.py")
    (source / "_static" / "words.js").write_bytes(playground.scripts()["words.js"])
    for path in (path for pattern in BESIDES for path in sorted(ROOT.glob(pattern))):
        _copy(path, source / path.relative_to(ROOT))
    for path in notebooks:
        _copy(path, source / "notebooks" / path.name)
    _write_api(source / "api", texts.modules(ROOT, SHOWN))

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {"README.md": re.sub(r"\A# .*", "# Set-up and results", readme)}
    facts = {
        "chapters": texts.chapters(notebooks, readme),
        "milestones": _milestones(),
        "playground": playable,
        "book": BOOK if book == "offered" else "",
        "is_book": book == "itself",
    }
    for path in SITE.glob("*.md"):
        if path.stem != "playground" or playable:
            page = TEMPLATES.from_string(path.read_text(encoding="utf-8"))
            pages[path.name] = page.render(facts).replace("](../../", "](")  # lie higher up here
    for name, text in pages.items():
        text = re.sub(r"\]\(course/site/(\w+\.md)", r"](\1", text)
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            if (ROOT / target).is_file() and not (source / target).exists():
                _copy(ROOT / target, source / target)
        if book == "itself":
            text = re.sub(r"!\[[^]]*\]\(\S*\.webp\)", "", text)  # no picture in every reader
        if not playable:
            text = re.sub(r"\[([^]]+)\]\(playground\.md[^)]*\)", r"\1", text)
        _write(source / name, text)


def _copy(path: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


TEMPLATES = Environment(trim_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True)
TEMPLATES.filters["html"] = lambda text: re.sub("`(.+?)`", r"<code>\1</code>", html.escape(text))


def _milestones() -> list[tuple[int, int, str]]:
    """Return how many mistakes in 1,000 the first and the best model make, and in what."""
    groups = results.by_data_set(results.records(ROOT / "results" / results.REFERENCE))
    found = []
    for name, what in (("MNIST", "digits"), ("HPL Tamil", "Tamil letters by strangers")):
        models = [model for entry in groups.get(name, []) for model in entry["models"]]
        if mistakes := [round(1000 * (1 - model["test_accuracy"])) for model in models]:
            found.append((mistakes[0], min(mistakes), what))
    return found


def _write_api(folder: Path, modules: dict[str, str]) -> None:
    """Write a page for each module, which autodoc fills, and one that lists them."""
    index = (SITE / "templates" / "api.md").read_text(encoding="utf-8")
    _write(folder / "index.md", TEMPLATES.from_string(index).render(modules=modules))
    for name in modules:
        page = f".. automodule:: {name}\n   :members:\n   :ignore-module-all:\n"
        page = f"# {name}\n\n```{{eval-rst}}\n{page}```\n"
        _write(folder / f"{name.rpartition('.')[2]}.md", page)


def _run_sphinx(source: Path, out: Path, doctrees: Path, kind: str = "html") -> None:
    from sphinx.cmd.build import build_main

    # Warnings are faults: a link that leads nowhere, a term that no glossary has.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # about itself
    options = ["-q", "-W", "--keep-going", "-b", kind, "-d", str(doctrees)]
    if build_main([*options, str(source), str(out)]):
        raise SiteError("Sphinx found faults (see above), so the site was not replaced")


def _declare_formulas(made: Path, out: Path) -> None:
    """Copy an EPUB whose list of files then says which hold formulas, as the standard asks."""
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(out, "w") as new:
        formulas = [name for name in old.namelist() if b"<math" in old.read(name)]
        for entry in old.infolist():
            content = old.read(entry)
            for item in (f'href="{name}" media-type'.encode() for name in formulas):
                content = content.replace(item, b'properties="mathml" ' + item)
            new.writestr(entry, content)


def main(arguments: list[str] | None = None) -> int:
    """Build the site; return 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python course/site/build.py", description=build.__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", metavar="FOLDER")
    parser.add_argument("--executed", type=Path, metavar="FOLDER", help="executed copies to show")
    parser.add_argument("--book", action="store_true", help="with the whole course as an EPUB")
    chosen = parser.parse_args(arguments)
    try:
        out = chosen.out.resolve()
        out.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{out}.lock"):  # runs under other profiles build it, too
            build(out, chosen.executed, book=chosen.book)
    except (RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
