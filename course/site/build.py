"""Build the course's web site from executed notebooks: `make site`. Nothing is executed here.

All sources are put together in a folder beside the result, in the layout of the project, so that
the links between notebooks, README and sources hold. Only a finished site replaces the old one.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import nbformat

from course.site import texts
from handwriting import playground

SITE = Path(__file__).resolve().parent
ROOT = SITE.parent.parent
PACKAGES = SITE / "node_modules"
FONTS = {  # npm package: the files that fonts.css names
    "@fontsource/noto-sans-tamil": (
        "noto-sans-tamil-tamil-400-normal.woff2",
        "noto-sans-tamil-tamil-700-normal.woff2",
    ),
    "@fontsource-variable/source-serif-4": (
        "source-serif-4-latin-wght-normal.woff2",
        "source-serif-4-latin-wght-italic.woff2",
        "source-serif-4-latin-ext-wght-normal.woff2",
        "source-serif-4-latin-ext-wght-italic.woff2",
    ),
}
SHOWN = ("nbhelpers", "nbhelpers/tamil", "handwriting")  # packages in the reference
BESIDES = (
    "LICENSE",
    "data/*.*",
    "nbhelpers/**/*.py",
    "nbhelpers/*.json",
    "nbhelpers/*.toml",
    "handwriting/*.py",
    "results/ladder.png",
)


class SiteError(RuntimeError):
    """The site cannot be built."""


def build(out: Path, executed: Path | None = None) -> None:
    """Build the site into `out`, and print where it is and what it had to leave out.

    Args:
        out: the folder of the site; what is in it is replaced when the new site is complete.
        executed: a folder with executed copies of notebooks, which are shown instead of the
            committed ones; a copy of an older version of a notebook is not.

    Raises:
        SiteError: Sphinx found a fault, which it has printed.
    """
    started = time.perf_counter()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".site-") as folder:
        work = Path(folder)
        source, page, drawing = work / "source", work / "html", work / "playground"
        notebooks = chosen(executed)
        left_out = [_fonts(source / "_static"), playground.copy(drawing)]
        _put_together(source, notebooks, with_playground=left_out[1] is None)
        _run_sphinx(source, page, work / "doctrees")
        for path in notebooks:
            _write_for_download(path, page / "notebooks" / path.name)
        if left_out[1] is None:
            shutil.copytree(drawing, page / "playground", dirs_exist_ok=True)
        _replace(out, page, work / "old")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    for sentence in filter(None, left_out):
        print(f"left out: {sentence}")
    seconds = time.perf_counter() - started
    print(f"the site: {len(notebooks)} chapters, {size / 1e6:.0f} MB, built in {seconds:.0f} s")
    shown = out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out
    print(f"open {shown / 'index.html'}, or run: python -m http.server -d {shown}")


def chosen(executed: Path | None) -> list[Path]:
    """Return the notebooks to show: executed copies, where they have the same cells as now."""
    found = []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        copy = executed / path.name if executed else path
        found.append(copy if copy.exists() and _cells(copy) == _cells(path) else path)
    if not found:
        raise SiteError(f"{ROOT / 'notebooks'}: expected notebooks such as 01_*.ipynb, found none")
    return found


def _cells(path: Path) -> list[tuple[str, str]]:
    cells = nbformat.read(path, as_version=4).cells
    return [(cell.cell_type, cell.source) for cell in cells]


def _fonts(static: Path) -> str | None:
    """Copy the fonts with their licences; return what is missing, or None."""
    files = [PACKAGES / name / "files" / file for name, some in FONTS.items() for file in some]
    licences = {name: PACKAGES / name / "LICENSE" for name in FONTS}
    if not all(path.exists() for path in (*files, *licences.values())):
        return (
            "the fonts; Tamil letters need one on the reader's machine "
            "(`make site` fetches them where npm is installed: https://nodejs.org)"
        )
    (static / "fonts").mkdir(parents=True)
    for path in files:
        shutil.copyfile(path, static / "fonts" / path.name)
    for name, path in licences.items():
        shutil.copyfile(path, static / "fonts" / f"LICENSE-{name.rpartition('/')[2]}.txt")
    shutil.copyfile(SITE / "fonts.css", static / "fonts.css")
    return None


def _put_together(source: Path, notebooks: list[Path], *, with_playground: bool) -> None:
    """Write all that Sphinx reads into `source`."""
    shutil.copytree(SITE / "static", source / "_static", dirs_exist_ok=True)
    shutil.copytree(SITE / "templates", source / "_templates")
    shutil.copyfile(SITE / "conf.py", source / "conf.py")
    for pattern in BESIDES:
        for path in sorted(ROOT.glob(pattern)):
            copy = source / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    (source / "notebooks").mkdir()
    for path in notebooks:
        shutil.copyfile(path, source / "notebooks" / path.name)

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\A# .*", "# Set-up and results", readme)
    text = re.sub(r"\]\(course/site/(\w+\.md)", r"](\1", text)  # our pages lie beside it here
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        if (ROOT / target).is_file() and not (source / target).exists():
            (source / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / target, source / target)
    _write(source / "README.md", text if with_playground else _without_playground(text))
    chapters = [texts.chapter(path) for path in notebooks]
    places = _places(chapters, texts.lessons(readme), with_playground)
    for path in sorted(SITE.glob("*.md")):
        if path.stem != "playground" or with_playground:
            text = path.read_text(encoding="utf-8")
            for place, content in places.items():
                text = text.replace(f"<!-- {place} -->", content)
            _write(source / path.name, text if with_playground else _without_playground(text))
    _write_api(source / "api", texts.modules(ROOT, SHOWN))


def _without_playground(text: str) -> str:
    return re.sub(r"\[([^]]+)\]\(playground\.md[^)]*\)", r"\1", text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _places(
    chapters: list[texts.Chapter], lessons: dict[str, tuple[str, str]], with_playground: bool
) -> dict[str, str]:
    """Return what stands in the pages in place of comments such as `<!-- chapters -->`."""
    titles = {}
    rows = []
    for chapter in chapters:
        number, _, title = chapter.title.partition(" · ")
        short, learned = lessons.get(chapter.name, (title, ""))
        titles[chapter.name] = f"{number} · {short}"
        rows.append(
            f'<li><a href="notebooks/{chapter.name}.html"><span class="number">{number}</span>'
            f'<span class="name">{_as_html(short)}</span></a><span class="learned">'
            f'{_as_html(learned)}</span><span class="minutes">{chapter.minutes} min</span></li>'
        )
    first = chapters[0].name
    draw = '<a class="button" href="playground.html">Draw, and let a model read</a>'
    names = [name for name in ("playground",) if with_playground]
    contents = [
        _toctree("Chapters", [f"{titles[c.name]} <notebooks/{c.name}>" for c in chapters]),
        _toctree(
            "More",
            [*names, "glossary", "README", "data/README", "teachers", "api/index"],
        ),
    ]
    durations = "\n".join(
        f"| [{titles[c.name]}](notebooks/{c.name}.ipynb) | {c.minutes}\u00a0min | {c.duration} |"
        for c in chapters
    )
    return {
        "start": f'<a class="button first" href="notebooks/{first}.html">Begin with chapter 0</a>',
        "draw": draw if with_playground else "",
        "milestones": _milestones(),
        "chapters": '<ol class="chapters">\n' + "\n".join(rows) + "\n</ol>",
        "contents": "\n".join(contents),
        "durations": f"| chapter | reading | executing |\n|---|---|---|\n{durations}",
        "exercises": "\n".join(
            f"- [{titles[c.name]}](notebooks/{c.name}.ipynb)\n"
            + "\n".join(f"  - {stars} {sentence}" for stars, sentence in c.exercises)
            for c in chapters
        ),
    }


def _as_html(markdown: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(markdown))


def _toctree(caption: str, entries: list[str]) -> str:
    lines = "\n".join(entries)
    return f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def _milestones() -> str:
    """Return a sentence a data set: how many mistakes the first and the best model make."""
    results: dict[str, list[float]] = {}
    for path in sorted((ROOT / "results" / "full-cpu").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        accuracies = [model["test_accuracy"] for model in record["models"]]
        results.setdefault(record["data"]["name"], []).extend(accuracies)
    cards = []
    for name, what in (("MNIST", "digits"), ("HPL Tamil", "Tamil letters by strangers")):
        if accuracies := results.get(name):
            first, best = (round(1000 * (1 - a)) for a in (accuracies[0], max(accuracies)))
            cards.append(
                f'<li><span class="from">{first}</span> <span class="arrow">to</span> '
                f'<span class="to">{best}</span><span class="what">mistakes in 1,000 {what}, '
                "from the first model to the best</span></li>"
            )
    return f'<ul class="milestones">{"".join(cards)}</ul>' if cards else ""


def _write_for_download(notebook: Path, copy: Path) -> None:
    """Write a notebook without results: who runs it guesses first, and the page shows them all."""
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(content, copy)


def _write_api(folder: Path, modules: dict[str, str]) -> None:
    short = {name: name.rpartition(".")[2] for name in modules}
    rows = "\n".join(f"| [{name}]({short[name]}.md) | {words} |" for name, words in modules.items())
    names = "\n".join(f"{name} <{short[name]}>" for name in modules)
    _write(
        folder / "index.md",
        "# The packages nbhelpers and handwriting\n\nWhat the notebooks import: one module for "
        f"each job.\n\n| module | what it does |\n|---|---|\n{rows}\n\n"
        f"```{{toctree}}\n:hidden:\n\n{names}\n```\n",
    )
    for name in modules:
        _write(
            folder / f"{short[name]}.md",
            f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n",
        )


def _run_sphinx(source: Path, out: Path, doctrees: Path) -> None:
    from sphinx.cmd.build import build_main

    # Warnings are faults: a link that leads nowhere, a term that no glossary has.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # about itself
    options = ["-q", "-W", "--keep-going", "-b", "html", "-d", str(doctrees)]
    if build_main([*options, str(source), str(out)]):
        raise SiteError("Sphinx found faults (see above), so the site was not replaced")
    for path in (out / ".buildinfo", out / "objects.inv", *out.glob("_static/*/*.map")):
        path.unlink(missing_ok=True)
    if (out / "_sources").exists():  # empty
        (out / "_sources").rmdir()


def _replace(out: Path, new: Path, old: Path) -> None:
    if out.exists():
        out.rename(old)
    new.rename(out)


def main(arguments: list[str] | None = None) -> int:
    """Build the site; return 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python course/site/build.py", description=build.__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", metavar="FOLDER")
    parser.add_argument("--executed", type=Path, metavar="FOLDER", help="executed copies to show")
    chosen_arguments = parser.parse_args(arguments)
    try:
        build(chosen_arguments.out.resolve(), chosen_arguments.executed)
    except (SiteError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
