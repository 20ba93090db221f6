"""Say where the commands of this package have gone."""

import sys

if __name__ == "__main__":
    sys.exit("Moved: python -m handwriting photo.png (was: classify); all else: python -m course")
