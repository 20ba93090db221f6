"""A digest of all that decides what executing a notebook gives, to see whether it must run again.

Of the packages it covers what the notebook imports, and what those modules import in turn, with the
data files whose names they mention. So nothing runs again because another module has changed.
"""

import ast
import hashlib
import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

PACKAGES = ("nbhelpers", "handwriting")
LIBRARIES = ("torch", "fastai", "scikit-learn")
SETTINGS = ("SAMPLE", "DATA", "MIRROR", "ARTIFACTS", "DAMAGED")


def stamp(notebook: Path, place: str, root: Path) -> str:
    """Return the digest of a notebook's code, the files it uses, and the settings of this machine.

    Place is the profile and the kind of device, such as `full-cpu`; `root` holds `nbhelpers/`.
    """
    parts = [place, *(os.environ.get(f"NBHELPERS_{name}", "") for name in SETTINGS)]
    parts += map(version, LIBRARIES)
    parts += [cell.source for cell in nbformat.read(notebook, as_version=4).cells]
    for path in files(notebook, root):
        parts += [path.name, path.read_text(encoding="utf-8")]  # whatever its line ends
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def files(notebook: Path, root: Path) -> list[Path]:
    """Return the files that a notebook uses: scripts beside it, modules, and what these mention."""
    kept = [path for name in PACKAGES for path in root.glob(f"{name}/**/*.[tcj]*")]
    kept += [path for path in root.glob("data/*.*") if path.suffix in (".csv", ".json")]
    cells = nbformat.read(notebook, as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    beside = (f"{notebook.name[:2]}_*.py", "matplotlibrc")
    found = {path for pattern in beside for path in notebook.parent.glob(pattern)}
    as_python = TransformerManager().transform_cell
    texts = [as_python(re.sub(r"\A%%.*\n", "", cell)) for cell in code]  # such as %%time
    texts += [path.read_text(encoding="utf-8") for path in found]
    while texts:
        text = texts.pop()
        used = {path for name in _imports(text) for path in _modules(name, root)}
        used |= {path for path in kept if path.name in text}
        texts += [path.read_text(encoding="utf-8") for path in used - found]
        found |= used
    return sorted(found, key=lambda path: path.parts[::-1])  # wherever the project lies


def _imports(text: str) -> Iterator[str]:
    """Yield the dotted names that a module imports, wherever; names in a package among them."""
    try:
        nodes = [*ast.walk(ast.parse(text))]
    except SyntaxError:  # a cell for another program, or a data file
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules(name: str, root: Path) -> Iterator[Path]:
    """Yield the files that importing a dotted name executes, as far as they are ours."""
    parts = name.split(".") if name.startswith(PACKAGES) else []
    for end in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:end])
        yield from filter(Path.is_file, (place / "__init__.py", place.with_suffix(".py")))
