"""The course's own part of its Sphinx build: chapters, glossary links, formulas without scripts."""

import html
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from latex2mathml.converter import convert
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from course import elsewhere
from course.site import texts, training

CHAPTERS = "notebooks/"
UNDESCRIBED = "A figure that the notebook does not describe."  # in copies with cells of your own

FORMS = Path(__file__).with_name("forms.toml")  # terms that occur not only with an s
NOT_IN_BOOKS = re.compile(r'<style[^>]*>.*?</style>\s*| (?:border|align|valign)="[^"]*"', re.S)
NO_LINKS_IN = (
    nodes.FixedTextElement,  # such as a block of code or a formula
    nodes.literal,
    nodes.math,
    nodes.title,
    nodes.reference,
    addnodes.pending_xref,
)


def prepare(app: Sphinx, name: str, source: list[str]) -> None:
    """Fold code in a notebook before it is parsed."""
    if name.startswith(CHAPTERS):
        notebook = nbformat.reads(source[0], as_version=4)
        texts.fold(notebook)
        for cell in notebook.cells:  # what ends folded text is a block of its own
            cell.source = re.sub(r"\s+</details>", "\n\n</details>", cell.source)
        source[0] = nbformat.writes(notebook)


def complete(app: Sphinx, document: nodes.document) -> None:
    """Add to a page what it needs besides its source; most of that is for chapters."""
    name = app.env.docname
    if name.startswith(CHAPTERS):
        path = Path(app.srcdir) / f"{name}.ipynb"
        if app.builder.name != "epub":  # which has no notebook to download
            title = next(document.findall(nodes.title))
            title.parent.insert(title.parent.index(title) + 1, _facts(texts.chapter(path)))
        _describe(document, nbformat.read(path, as_version=4))
        if (Path(app.srcdir) / "_static" / "train").exists():
            place_box(document, path.stem)
        link_terms(document, name, [*_terms(Path(app.srcdir))])
    if app.builder.name == "epub":
        for raw in list(document.findall(nodes.raw)):  # is XML there, without old attributes
            text = NOT_IN_BOOKS.sub("", raw.astext()).replace("&nbsp;", "\u00a0")
            raw.replace_self(nodes.raw("", text.replace("<br>", "<br/>"), format=raw["format"]))
    for image in list(document.findall(nodes.image)):
        whole = image.parent if isinstance(image.parent, nodes.paragraph) else image
        if whole is image or len(image.parent) == 1:
            box = nodes.container("", classes=["figure-box"])  # wide pictures scroll in it
            whole.replace_self(box)
            box += image


def _facts(chapter: texts.Chapter) -> nodes.raw:
    words = f"About {chapter.minutes} minutes to read. {html.escape(chapter.executed)}".strip()
    link = f'<a href="{chapter.name}.ipynb" download title="Without results, to be run">'
    text = f'<p class="facts">{words} {link}Download the notebook</a></p>'
    named = elsewhere.links(chapter.name).items()
    if buttons := [f'<a class="button" href="{to}">Open in {name}</a>' for name, to in named]:
        text += f'<p class="buttons">{" ".join(buttons)}</p>'
    return nodes.raw("", text, format="html")


def _describe(document: nodes.document, notebook: nbformat.NotebookNode) -> None:
    """Give the pictures in outputs their alternative texts, which MyST-NB leaves out."""
    alts = texts.alternative_texts(notebook)
    for image in document.findall(nodes.image):
        image["alt"] = alts.get(Path(image["uri"]).stem) or image.get("alt") or UNDESCRIBED


def place_box(document: nodes.document, chapter: str) -> None:
    """Put the box "Train it here" at the end of the section that `training.toml` names."""
    if not (box := training.boxes_by_chapter().get(chapter)):
        return
    for section in document.findall(nodes.section):
        if re.sub(r"^[\d.]+ ", "", section[0].astext()) == box["below"]:
            text = f'<details class="train" data-chapter="{chapter}" hidden>'
            text += "<summary>Train it here</summary></details>"
            inner = section.first_child_matching_class(nodes.section)  # stands below the box
            place = len(section) if inner is None else inner
            section.insert(place, nodes.raw("", text, format="html"))
            return
    print(f"left out: the box “Train it here” of {chapter}: no heading is “{box['below']}”")


@cache
def _terms(folder: Path) -> dict[str, str]:
    """Return the definitions of the glossary, longer terms before the shorter ones in them."""
    found = texts.glossary((folder / "glossary.md").read_text(encoding="utf-8"))
    return dict(sorted(found.items(), key=lambda entry: -len(entry[0])))


def link_terms(document: nodes.document, name: str, terms: list[str]) -> None:
    """Link each term of the glossary where the prose of a page uses it first."""
    forms, parts = tomllib.loads(FORMS.read_text(encoding="utf-8")), []
    for term in terms:  # a group for each
        form = forms.get(term) or re.escape(term) + "s?"
        parts.append(f"((?i:{form}))" if term == term.lower() else f"({form})")
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(parts)})(?![\w-])")
    used: set[str] = set()
    for text in filter(_is_prose, list(document.findall(nodes.Text))):
        pieces, words, end = [], str(text), 0
        for match in pattern.finditer(words):
            term = terms[match.lastindex - 1]
            if term not in used:
                used.add(term)
                pieces += [nodes.Text(words[end : match.start()]), _link(match[0], term, name)]
                end = match.end()
        if pieces:
            pieces.append(nodes.Text(words[end:]))
            text.parent.replace(text, [piece for piece in pieces if piece.astext()])


def _is_prose(node: nodes.Node) -> bool:
    while node := node.parent:
        if isinstance(node, NO_LINKS_IN) or node.get("nb_element") == "cell_code":
            return False
    return True


def _link(words: str, term: str, name: str) -> addnodes.pending_xref:
    shown = nodes.inline("", words, classes=["glossary-term"], term=term)
    how = {"refdomain": "std", "reftype": "term", "reftarget": term, "refdoc": name}
    return addnodes.pending_xref("", shown, refwarn=True, refexplicit=True, **how)


def explain(app: Sphinx, document: nodes.document, name: str) -> None:
    """Give each link to the glossary the definition as its title, which browsers show."""
    if not name.startswith(CHAPTERS):
        return
    terms = _terms(Path(app.srcdir))
    for link in document.findall(nodes.reference):
        inside = link.children[0] if link.children else None
        if isinstance(inside, nodes.inline) and "term" in inside:
            link["reftitle"] = terms[inside["term"]]


def open_fold(self: HTML5Translator, node: HideCodeCellNode) -> None:
    """Begin folded code: MyST-NB's own HTML has a name that differs from what is shown."""
    words = html.escape(node["prompt_show"])
    self.body.append(f'<details class="fold"><summary>{words}</summary>\n')


def close_fold(self: HTML5Translator, node: HideCodeCellNode) -> None:
    """End folded code."""
    self.body.append("</details>\n")


def formula(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers set without any script."""
    if isinstance(node, nodes.math):
        self.body.append(convert(node.astext(), display="inline"))
    else:
        self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def level_headings(
    app: Sphinx, name: str, template: str, context: dict[str, Any], document: nodes.document | None
) -> None:
    """Say how deep the headings of the menu are; Sphinx gives them a role without a level."""
    if app.builder.name == "epub":  # neither scripts nor MyST-NB's styles are in the book
        context["css_files"] = [one for one in context["css_files"] if "epub" in str(one)]
        context["script_files"] = []
    menu = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = menu.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect all of this to Sphinx."""
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.add_node(HideCodeCellNode, override=True, html=(open_fold, close_fold))
    app.connect("source-read", prepare)
    app.connect("doctree-read", complete)
    app.connect("doctree-resolved", explain)
    app.connect("html-page-context", level_headings, priority=900)  # after the theme
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
