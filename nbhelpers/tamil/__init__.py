"""HPL Tamil: the archive and its splits, the alphabet and a font of it, and synthetic writers."""

from nbhelpers.tamil.archive import TEST, TRAIN, UNKNOWN, characters, read_characters, tamil

__all__ = ["TEST", "TRAIN", "UNKNOWN", "characters", "read_characters", "tamil"]
