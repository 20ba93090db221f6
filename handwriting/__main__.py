"""`python -m handwriting photo.png`: say which character is on a picture."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from handwriting import ink, models

_CLASSIFY = """\
Say which character is on each picture, one line a picture: its name, the character and how
probable it is, or the two likeliest where the model is not sure. A picture shows one character,
dark on light or light on dark, in any format that Pillow reads. A line on standard error says
which model reads: the course's own, or one that was trained here and is at least as good."""
_STATUS = """\
exit status:
  0  every picture was read
  1  an error: a picture is missing or damaged or nothing is drawn on it, or there is no model
  2  the command was not understood
  3  every picture was read, but for at least one of them the model is not sure
"""


def main(arguments: list[str] | None = None) -> int:
    """Read the pictures that the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m handwriting",
        description=_CLASSIFY,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a file")
    parser.add_argument(
        "--model",
        default="digits",
        help="digits (the default), tamil, or the name of a saved model such as resnet18",
    )
    parser.add_argument(
        "--models",
        type=Path,
        metavar="FOLDER",
        help="where it lies; by default the best under artifacts/ and results/models/",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a list with the five likeliest of each picture"
    )
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not every terminal or file can hold Tamil letters
            stream.reconfigure(errors="backslashreplace")
    chosen = parser.parse_args(arguments)
    try:
        return _classify(chosen.pictures, chosen.model, chosen.models, chosen.json)
    except BrokenPipeError:  # whoever reads our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _classify(pictures: list[str], model: str, folder: Path | None, as_json: bool) -> int:
    reader = models.reader(model, folder)
    if folder is None:  # who names no place is told what reads
        accuracy = reader.card.results["test_accuracy"]
        print(
            f"model: {reader.card.title}, {reader.origin}, test accuracy {accuracy:.4f}",
            file=sys.stderr,
        )
    failed = unsure = False
    entries = []
    for picture in pictures:
        try:
            answer = reader.read(picture)
        except ink.InkError as error:
            failed = True
            reason = str(error).removeprefix(f"{picture}: ")
            entries.append(_entry(picture, error=reason))
            if not as_json:
                print(f"{picture}: {reason}", file=sys.stderr)
            continue
        unsure |= not answer.sure
        entries.append(_entry(picture, answer))
        if not as_json:
            print(f"{picture}: {answer}", flush=True)
    if as_json:
        print(json.dumps(entries, ensure_ascii=False, indent=1))
    return 1 if failed else 3 if unsure else 0


def _entry(picture: str, answer: models.Answer | None = None, error: str | None = None) -> dict:
    """Return what `--json` says about a picture; keys without a value are null."""
    choices = [vars(choice) for choice in answer.choices] if answer else None
    return {
        "file": picture,
        "answer": choices[0]["text"] if choices else None,
        "probability": choices[0]["probability"] if choices else None,
        "sure": answer.sure if answer else None,
        "choices": choices,
        "error": error,
    }


if __name__ == "__main__":
    sys.exit(main())
