"""Settings of Sphinx. `build.py` puts this file and all sources together; see there."""

from pathlib import Path

HERE = Path(__file__).resolve().parent

project = "Reading handwriting"
author = "the contributors of the course"
language = "en"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "course.site.extension",
]
templates_path = ["_templates"]
exclude_patterns = ["_static", "_templates"]

# Notebooks are shown as they were executed.
nb_execution_mode = "off"
nb_merge_streams = True
suppress_warnings = ["mystnb.unknown_mime_type", "mystnb.mime_priority"]  # a widget of your own
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

highlight_language = "text"  # of fenced blocks that name none

# The API, from docstrings. fastai takes seconds to import and changes signatures when it does.
autodoc_mock_imports = ["fastai"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_custom_sections = [("Environment variables", "params_style")]
napoleon_use_ivar = True  # else autodoc and napoleon would describe each attribute once

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = [name for name in ("fonts.css", "site.css") if (HERE / "_static" / name).exists()]
html_js_files = ["site.js"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_use_index = False
html_domain_indices = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
# Contrast is at least 4.5 to 1 for all text, in both modes. Readers with any kind of colour
# blindness can tell blue from brown.
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {
        "color-foreground-primary": "#21262c",
        "color-foreground-secondary": "#4a525b",
        "color-foreground-muted": "#59616a",
        "color-foreground-border": "#7b828a",
        "color-background-primary": "#fdfcf9",
        "color-background-secondary": "#f5f3ed",
        "color-background-hover": "#ebe8df",
        "color-background-hover--transparent": "#ebe8df00",
        "color-background-border": "#e0dcd1",
        "color-brand-primary": "#0b5a8f",
        "color-brand-content": "#0b5a8f",
        "color-brand-visited": "#6a4199",
        "color-code-background": "#f5f3ed",
        "color-code-foreground": "#21262c",
        "color-link-underline": "#a9bfd0",
        "color-link-underline--visited": "#c3b3d6",
        "color-highlighted-background": "#fde8b5",
        "color-highlight-on-target": "#fdf0cf",
        "color-accent": "#9a4a00",
        "color-output-border": "#c9c4b6",
        "figure-filter": "none",
    },
    "dark_css_variables": {
        "color-foreground-primary": "#dcdfe3",
        "color-foreground-secondary": "#acb3bb",
        "color-foreground-muted": "#a0a8b1",
        "color-foreground-border": "#7b838c",
        "color-background-primary": "#15181c",
        "color-background-secondary": "#1c2026",
        "color-background-hover": "#272c33",
        "color-background-hover--transparent": "#272c3300",
        "color-background-border": "#333a42",
        "color-brand-primary": "#86c5f4",
        "color-brand-content": "#86c5f4",
        "color-brand-visited": "#c5a6ee",
        "color-code-background": "#1c2026",
        "color-code-foreground": "#e4e6e9",
        "color-link-underline": "#3f6482",
        "color-link-underline--visited": "#64527f",
        "color-highlighted-background": "#5c4708",
        "color-highlight-on-target": "#3a3113",
        "color-accent": "#f2ad66",
        "color-output-border": "#454d57",
        "figure-filter": "brightness(0.9)",
    },
}

copybutton_selector = "div:not(.output) > div.highlight > pre"
copybutton_prompt_text = r"^(\$|>>>) "
copybutton_prompt_is_regexp = True
