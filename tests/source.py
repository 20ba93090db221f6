"""The project's own source, for tests that read it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = "nbhelpers/**/*.py", "handwriting/**/*.py", "course/**/*.py"


def modules(*patterns):
    """Return the text of each module that matches, by its path in the project."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for pattern in patterns
        for path in sorted(ROOT.glob(pattern))
    }
