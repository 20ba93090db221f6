"""Settings of Sphinx. `build.py` puts this file and all sources together; see there."""

import tomllib
from pathlib import Path

from course import site

HERE = Path(__file__).resolve().parent

project = "Reading handwriting"
author = epub_copyright = "the contributors of the course"
version = "1"  # which an EPUB must have
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "course.site.extension",
]
templates_path = ["_templates"]

# Notebooks are shown as they were executed.
nb_execution_mode = "off"
nb_merge_streams = True
suppress_warnings = ["mystnb.unknown_mime_type", "mystnb.mime_priority"]  # a widget of your own
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

highlight_language = "text"  # of fenced blocks that name none
default_role = "literal"  # of single backticks in docstrings

# The API, from docstrings. fastai takes seconds to import and changes signatures when it does.
autodoc_mock_imports = ["fastai"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # else autodoc and napoleon would describe each attribute once

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
STYLES = ("fonts.css", "site.css", "language.css")
html_css_files = [name for name in STYLES if (HERE / "_static" / name).exists()]
html_js_files = ["site.js", "live.js"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
html_use_index = False
html_domain_indices = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
COLOURS = tomllib.loads((Path(site.__file__).parent / "colours.toml").read_text(encoding="utf-8"))
html_theme_options = {"top_of_page_buttons": [], **COLOURS}

copybutton_selector = "div:not(.output) > div.highlight > pre"
