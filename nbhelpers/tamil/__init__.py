"""HPL Tamil: the archive and its splits, the alphabet and a font of it, and synthetic writers."""

from nbhelpers.tamil.archive import (
    CITATION,
    TEST,
    TRAIN,
    UNKNOWN,
    Characters,
    cached,
    characters,
    fetch,
    read_characters,
    split_by_writer,
    tamil,
)

__all__ = [
    "CITATION",
    "TEST",
    "TRAIN",
    "UNKNOWN",
    "Characters",
    "cached",
    "characters",
    "fetch",
    "read_characters",
    "split_by_writer",
    "tamil",
]
