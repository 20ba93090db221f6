"""The project's own source, for tests that read it, and files that stand for others of it."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = "nbhelpers/**/*.py", "handwriting/**/*.py", "course/**/*.py"
IN_GIT = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


def modules(*patterns):
    """Return the text of each file that matches, by its path in the project."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for pattern in patterns
        for path in sorted(ROOT.glob(pattern))
    }


def lay(folder, files):
    """Write files, by their paths in a folder: bytes, texts, or what JSON can hold."""
    for name, content in files.items():
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
