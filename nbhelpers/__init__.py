"""Helpers that the notebooks of the handwriting course import.

One module, one job: `profile` (how much a run does), `sources` (getting archives), `data` (splits
and batches), `training` (the loop), `reporting` (figures, numbers, the results record), `ink` (a
picture of one character to what a model was trained on).
"""

__version__ = "0.1.0"
