"""Say where the commands of this package have gone."""

import sys

MOVED = """The commands have moved:
  python -m handwriting photo.png    reads a picture (was: classify)
  python -m course --help            doctor, data, run, compare, verify, readme"""

if __name__ == "__main__":
    sys.exit(MOVED)
