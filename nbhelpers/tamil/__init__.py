"""HPL Tamil: the archive and its splits, the alphabet and a font of it, and synthetic writers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbhelpers.tamil.archive import TEST, TRAIN, UNKNOWN, characters, read_characters, tamil

__all__ = ["TEST", "TRAIN", "UNKNOWN", "characters", "read_characters", "tamil"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nbhelpers.tamil import archive  # with torch, which the alphabet gets along without

    return getattr(archive, name)
