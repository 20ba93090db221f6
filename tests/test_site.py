"""The web site: built once from the committed notebooks, then read like a visitor would."""

import re
import shutil
import subprocess
import time
import zipfile
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import in_python
import nbformat
import promise
import pytest
from bs4 import BeautifulSoup
from nbformat import v4
from source import ROOT, lay

from course import elsewhere
from course.site import build, extension, texts

SITE = ROOT / "course" / "site"

CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
MEGABYTES_A_CHAPTER, MEGABYTES, SECONDS = 3, 40, 180
# What a browser fetches by itself when it shows a page.
FETCHED = (
    ("script", "src"), ("img", "src"), ("img", "srcset"), ("link", "href"), ("source", "src"),
    ("iframe", "src"), ("video", "src"), ("audio", "src"), ("object", "data"), ("use", "href"),
)  # fmt: skip


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site. A warning of Sphinx fails the build, and so every test."""
    out = tmp_path_factory.mktemp("built") / "site"
    started = time.perf_counter()
    nowhere = "http://127.0.0.1:9"
    done = in_python.run(
        SITE / "build.py", "--book", "--out", out, http_proxy=nowhere, https_proxy=nowhere,
        GITHUB_REPOSITORY="someone/course", GITHUB_SHA="c0ffee",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "index.html" in done.stdout and "python -m http.server -d" in done.stdout
    assert time.perf_counter() - started < SECONDS
    return out


@pytest.fixture(scope="session")
def pages(site):
    """Every page, by its path in the site."""
    return {
        path.relative_to(site).as_posix(): BeautifulSoup(path.read_bytes(), "html.parser")
        for path in sorted(site.rglob("*.html"))
    }


@pytest.fixture(scope="session")
def chapters(pages):
    return {path.stem: pages[f"notebooks/{path.stem}.html"] for path in CHAPTERS}


def is_external(address):
    return urlsplit(address).scheme not in ("", "data") or address.startswith("//")


def referenced(page):
    return [
        tag[attribute].split(" ")[0]
        for name, attribute in FETCHED
        for tag in page.find_all(name, attrs={attribute: True})
        if tag.get("rel") != ["canonical"]
    ]


@promise.site("The site fetches nothing from elsewhere: it works without a connection")
def test_nothing_is_fetched_from_elsewhere(site, pages):
    for name, page in pages.items():
        assert not [address for address in referenced(page) if is_external(address)], name
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import", str(page.find_all("style")))
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import\s+(url\()?['\"]?http", text), path


@promise.site("Every link of the site and of the README leads somewhere")
def test_every_link_leads_somewhere(site, pages):
    ids = {
        name: {tag["id"] for tag in page.find_all(id=True)} | {""} for name, page in pages.items()
    }
    for name, page in pages.items():
        links = page.find_all("a", href=lambda to: to and not is_external(to))
        sources = [link for link in links if link["href"].endswith((".ipynb", ".md"))]
        assert all(link.has_attr("download") for link in sources), f"{name}: only GitHub shows it"
        for address in {link["href"] for link in links} | {*referenced(page)}:
            if is_external(address) or address.startswith("data:"):
                continue
            parts = urlsplit(address)
            path = unquote(parts.path)
            target = (site / name).parent / path if path else site / name
            assert target.is_file(), f"{name}: {address}"
            key = target.resolve().relative_to(site.resolve()).as_posix()
            # The theme's link to the top of a page, and what a script makes of the search page.
            if key in ids and parts.fragment not in ("top", "searchbox"):
                assert unquote(parts.fragment) in ids[key], f"{name}: {address}"


@promise.notebooks("Every figure is described for those who cannot see it")
def test_every_picture_says_what_it_shows(pages):
    seen = 0
    for name, page in pages.items():
        for image in page.find_all("img"):
            assert len(image.get("alt", "").strip()) > 20, f"{name}: {image.get('src')}"
            assert image["alt"] != extension.UNDESCRIBED, f"{name}: {image.get('src')}"
            seen += 1
    assert seen > 80


def test_pictures_have_the_words_of_the_notebook(chapters):
    for path in CHAPTERS:
        notebook = nbformat.read(path, as_version=4)
        said = [" ".join(alt.split()) for alt in texts.alternative_texts(notebook).values()]
        shown = {" ".join(image["alt"].split()) for image in chapters[path.stem].find_all("img")}
        assert set(said) <= shown, path.stem


def test_formulas_need_no_script(chapters):
    shown = [formula for page in chapters.values() for formula in page.find_all("math")]
    assert {formula["display"] for formula in shown} == {"inline", "block"}


def test_the_page_of_results_has_every_table(pages):
    heads = [table.th.get_text() for table in pages["results.html"].find_all("table")]
    assert heads[:3] == ["notebook"] * 3 and heads[-1] == "promise"
    assert "network, to test accuracy" in heads and "chapter" in heads


def test_sizes(site, chapters):
    for name, page in chapters.items():
        here = site / "notebooks"
        size = (here / f"{name}.html").stat().st_size
        size += sum((here / image["src"]).stat().st_size for image in page.find_all("img"))
        assert size < MEGABYTES_A_CHAPTER * 1e6, name
    total = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert total < MEGABYTES * 1e6
    assert not list(site.rglob("*.doctree")) and not list(site.rglob("*.pickle"))


def test_each_chapter_says_what_it_is_and_where_it_opens(chapters):
    for path in CHAPTERS:
        page = chapters[path.stem]
        assert len(page.select(".toc-tree li a")) > 5
        facts = page.select_one("p.facts").get_text()
        assert re.search(r"About \d+ minutes to read\.", facts)
        assert texts.chapter(path).executed in facts
        buttons = {link.get_text(): link["href"] for link in page.select(".facts + .buttons a")}
        assert buttons["Open in Codespaces"] == "https://codespaces.new/someone/course"
        colab = f"/someone/course/blob/colab/notebooks/{path.name}"
        assert buttons["Open in Colab"].endswith(colab)
        binder = f"https://mybinder.org/v2/gh/someone/course/c0ffee?labpath=notebooks/{path.name}"
        assert buttons.get("Open in Binder") == (binder if path.name < "04" else None)


def test_each_chapter_offers_its_notebook_without_results(site, chapters):
    for path in CHAPTERS:
        link = chapters[path.stem].select_one("p.facts a[download]")
        offered = nbformat.read(site / "notebooks" / link["href"], as_version=4).cells
        ours = nbformat.read(path, as_version=4).cells
        assert [cell.source for cell in offered] == [cell.source for cell in ours]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in offered)


def test_code_and_solutions_are_folded(chapters):
    for path in CHAPTERS:
        page = chapters[path.stem]
        folds = page.select("details.fold")
        assert folds and "import" in folds[0].get_text(), path.stem
        assert folds[0].summary.get_text() == "Show the set-up"
        solutions = [d for d in page.find_all("details") if "Solution" in d.summary.get_text()]
        assert len(solutions) >= 3
        assert not [d for d in folds + solutions if d.has_attr("open")]
        assert len(page.select(".cell_input")) > 2 * len(folds)  # what teaches is in the open


def test_glossary_terms_are_linked_where_they_are_used_first(pages, chapters):
    terms = texts.glossary((SITE / "glossary.md").read_text(encoding="utf-8"))
    assert len(terms) >= 50
    linked = set()
    for name, page in chapters.items():
        links = page.select('a[href^="../glossary.html#term-"]')
        targets = [link["href"] for link in links]
        assert len(targets) > 8, name
        assert len(targets) == len(set(targets)), f"{name}: a term is linked twice"
        assert all(len(link["title"]) > 20 for link in links), name
        assert not [a for a in links if a.find_parent(["h1", "h2", "h3", "code", "pre", "summary"])]
        linked |= {target.partition("#")[2] for target in targets}
    entries = {tag["id"] for tag in pages["glossary.html"].select("dl.glossary dt")}
    assert entries == linked, "a term that no chapter uses"


def test_landing_page_leads_to_everything(pages):
    page = pages["index.html"]
    chapters = [link["href"] for link in page.select("ol.chapters a")]
    assert chapters == [f"notebooks/{path.stem}.html" for path in CHAPTERS]
    targets = {link["href"] for link in page.find_all("a", href=True)}
    others = {"glossary", "teachers", "README", "results", "api/index"}
    assert {f"{name}.html" for name in others} <= targets
    assert page.find("img", src=re.compile("ladder"))


def test_teachers_find_times_and_exercises(pages):
    text = pages["teachers.html"].get_text()
    for path in CHAPTERS:
        chapter = texts.chapter(path)
        assert chapter.duration and len(chapter.exercises) == 3, path.stem
        assert re.split(r"[`*]", chapter.exercises[0][1])[0] in text, path.stem
    lessons = [text.get_text() for text in pages["index.html"].select("ol.chapters .learned")]
    assert len(lessons) == len(CHAPTERS) and all(lessons)


def test_every_module_has_a_page_with_its_functions(pages):
    for name in (n.rpartition(".")[2] for n in texts.modules(ROOT, build.SHOWN)):
        assert f"api/{name}.html" in pages
    assert pages["api/ink.html"].find(id="handwriting.ink.to_mnist")
    assert "float" in pages["api/records.html"].find(id="nbhelpers.records.Result").get_text()


def test_the_book_is_whole_and_well_formed(site, pages):
    """Its pages are XML; EPUBCheck 4.2.6 found no fault in one."""
    assert pages["index.html"].select_one(f'a[href="{build.BOOK}"]')
    with zipfile.ZipFile(site / build.BOOK) as book:
        names = set(book.namelist())
        assert {f"notebooks/{path.stem}.xhtml" for path in CHAPTERS} <= names
        for name in (name for name in names if name.endswith((".xhtml", ".opf"))):
            page = ElementTree.fromstring(book.read(name))
            tags = {tag.tag.rpartition("}")[2] for tag in page.iter()}
            assert not tags & {"script", "canvas", "style"}, name


def test_tamil_has_a_font_of_its_own_where_npm_has_been(site):
    if not (SITE / "node_modules" / "@fontsource").exists():
        pytest.skip("the site's npm packages are not installed: `make site` with Node.js")
    css = (site / "_static" / "fonts.css").read_text(encoding="utf-8")
    for name in re.findall(r'url\("([^"]+)"\)', css):
        assert (site / "_static" / name).read_bytes()[:4] == b"wOF2"
    assert "SIL OPEN FONT LICENSE" in "".join(
        path.read_text(encoding="utf-8").upper()
        for path in (site / "_static" / "fonts").glob("LICENSE*")
    )


def drawing(source, output="image/png"):
    cell = v4.new_code_cell(source)
    cell.outputs = [v4.new_output("display_data", {output: "aGk="})]
    return cell


DRAWS = "figure, axes = plt.subplots()\n" + "axes.plot([1])\n" * 8


def test_cells_that_only_draw():
    assert texts.only_draws(drawing(DRAWS))
    assert not texts.only_draws(drawing(DRAWS, "text/html"))
    assert not texts.only_draws(drawing("plt.plot([1])"))  # short
    assert not texts.only_draws(drawing("model = train(images)\n" * 4 + DRAWS))
    assert not texts.only_draws(drawing("def teach(axes):\n    return axes\n\n\n" * 2 + DRAWS))


def test_a_chapter_says_only_what_its_outputs_say(tmp_path):
    path, cell = tmp_path / "01_x.ipynb", v4.new_code_cell("import torch")
    run = v4.new_output("stream", text="quick profile on the GPU\n")
    banner = v4.new_output("display_data", {"text/html": "<b>SAMPLE DATA</b>"})

    def said(*outputs):
        cell.outputs = [*outputs]
        nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# 1 · X"), cell]), path)
        return texts.chapter(path).executed

    assert said() == ""
    assert said(run) == "Executed under the quick profile on a GPU, on real data."
    assert "sample data, not the real set" in said(run, banner)


def test_a_file_that_is_no_chapter_is_named(tmp_path):
    path = tmp_path / "01_x.ipynb"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"01_x\.ipynb: expected a Jupyter notebook"):
        texts.chapter(path)
    nbformat.write(v4.new_notebook(), path)
    with pytest.raises(ValueError, match=r"01_x\.ipynb: expected a title"):
        texts.chapter(path)


def test_no_buttons_where_no_repository_on_github_is_known(monkeypatch):
    assert elsewhere.links("01_x") == {}
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/course")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://forge.example")
    assert elsewhere.links("01_x") == {}


def test_colab_opens_the_same_cells_after_one_that_gets_the_course(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/course")
    monkeypatch.setenv("GITHUB_SHA", "c0ffee")
    elsewhere.write_for_colab(tmp_path)
    for path in CHAPTERS:
        copy = nbformat.read(tmp_path / path.name, as_version=4)
        nbformat.validate(copy)
        first, *others = [cell.source for cell in copy.cells]
        assert "https://github.com/someone/course" in first and "checkout -q c0ffee" in first
        assert others == [cell.source for cell in nbformat.read(path, as_version=4).cells]
        assert not any(cell.get("outputs") for cell in copy.cells)


@pytest.mark.skipif(not shutil.which("sed"), reason="a shell's tools are not here")
def test_in_colab_only_what_notebooks_import_is_installed_and_never_torch():
    (command,) = re.findall(r"!sed -E '(.+?)'", elsewhere.FIRST_CELL)
    sed = ["sed", "-E", command, str(ROOT / "requirements.txt")]
    needed = subprocess.run(sed, capture_output=True, text=True, check=True).stdout
    names = {line.split(">=")[0] for line in needed.splitlines() if line[0] != "#"}
    assert {"fastai", "onnxruntime", "optuna"} <= names
    assert not names & {"torch", "torchvision", "numpy", "jupyterlab", "sphinx", "pytest"}


def test_executed_copies_are_shown_unless_they_are_of_an_older_version(tmp_path):
    same, other = CHAPTERS[:2]
    (tmp_path / same.name).write_bytes(same.read_bytes())
    assert build.chosen(tmp_path) == CHAPTERS, "its execution has not ended"
    for path in (same, other):
        (tmp_path / path.name).with_suffix(".json").touch()
    changed = nbformat.read(other, as_version=4)
    changed.cells[1].source += "\n# older"
    nbformat.write(changed, tmp_path / other.name)
    assert build.chosen(tmp_path)[:3] == [tmp_path / same.name, other, CHAPTERS[2]]
    assert build.chosen(None) == CHAPTERS


@promise.site("A site that could not be built leaves the one that is there")
def test_a_failed_build_keeps_the_site_that_is_there(tmp_path, monkeypatch, capsys):
    lay(tmp_path, {"site/index.html": "before"})

    def fail(*_):
        raise build.SiteError("Sphinx found faults")

    monkeypatch.setattr(build, "_run_sphinx", fail)
    monkeypatch.setattr(build.playground, "copy", lambda folder: "the playground (see its tests)")
    assert build.main(["--out", str(tmp_path / "site")]) == 1
    assert "Sphinx found faults" in capsys.readouterr().err
    assert {path.name for path in tmp_path.rglob("*")} == {"site", "site.lock", "index.html"}


def test_without_npm_s_packages_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "PACKAGES", tmp_path / "none")
    assert "fonts" in build._fonts(tmp_path / "static") and "npm" in build._fonts(tmp_path)
    assert not list(tmp_path.iterdir())


def test_npm_packages_name_no_server_of_ours():
    lock = (SITE / "package-lock.json").read_text(encoding="utf-8")
    assert not re.findall(r'"resolved": "(?!https://registry\.npmjs\.org/)', lock)
