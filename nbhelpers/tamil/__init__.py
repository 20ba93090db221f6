"""HPL Tamil: the archive and its splits, the alphabet and a font of it, and synthetic writers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbhelpers.tamil.archive import TEST, TRAIN, UNKNOWN, characters, read_characters, tamil

__all__ = ["TEST", "TRAIN", "UNKNOWN", "characters", "read_characters", "tamil"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # they come with torch, which the alphabet gets along without
        return getattr(import_module("nbhelpers.tamil.archive"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
