"""`python -m handwriting photo.png`: say which character is on a picture."""

import argparse
import json
import os
import sys
from pathlib import Path

from handwriting import models
from handwriting.pictures import InkError

_ABOUT = """\
Say which character is on each picture, one line a picture: its name, the character and how
probable it is, or the two likeliest where the model is not sure. A picture shows one character,
or several with --all, dark on light or light on dark, as PNG, JPEG, TIFF, BMP, WebP, GIF, PPM or
AVIF. A line on standard error says which model reads: the course's own, or one that was trained
here and is at least as good."""
_STATUS = """\
exit status:
  0  every picture was read
  1  an error: a picture is missing or damaged or nothing is drawn on it, or there is no model
  2  the command was not understood
  3  every picture was read, but for at least one of them the model is not sure
"""


def main(arguments: list[str] | None = None) -> int:
    """Read the pictures that the arguments name; return the exit status."""
    how = {"epilog": _STATUS, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("python -m handwriting", description=_ABOUT, **how)
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a file")
    known = "digits (the default), tamil, or the name of a saved model such as resnet34"
    parser.add_argument("--model", default="digits", help=known)
    where = "where it lies; by default the best under artifacts/ and results/models/"
    parser.add_argument("--models", type=Path, metavar="FOLDER", help=where)
    listed = "print a list with the five likeliest of each picture"
    parser.add_argument("--json", action="store_true", help=listed)
    every = "read every separate character, row by row: one line each; with --json, its box too"
    parser.add_argument("--all", action="store_true", help=every)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not every terminal or file can hold Tamil letters
            stream.reconfigure(errors="backslashreplace")
    chosen = parser.parse_args(arguments)
    try:
        reader = models.reader(chosen.model, chosen.models)
        if chosen.models is None:  # who names no place is told what reads
            accuracy = reader.card.results["test_accuracy"]
            said = f"model: {reader.card.title}, {reader.origin}, test accuracy {accuracy:.4f}"
            print(said, file=sys.stderr)
        return _read(_expanded(chosen.pictures), reader, chosen)
    except BrokenPipeError:  # whoever reads our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _expanded(names: list[str]) -> list[str]:
    """Return the names with patterns such as `*.png` replaced, which Windows' shells leave."""
    found = []
    for name in names:
        path = Path(name)
        pattern = any(sign in path.name for sign in "*?[") and not path.exists()
        matches = sorted(str(one) for one in path.parent.glob(path.name)) if pattern else []
        found += matches or [name]
    return found


def _entry(picture: str, said: models.Answer | str, boxed: bool) -> dict[str, object]:
    """Return what --json prints about an answer, or about the error that stands in its place."""
    names = ("answer", "probability", "sure", "choices", "error", *(["box"] if boxed else []))
    entry: dict[str, object] = {"file": picture} | dict.fromkeys(names)
    if isinstance(said, str):
        return entry | {"error": said}
    first = said.choices[0]
    entry |= {"answer": first.text, "probability": first.probability, "sure": said.sure}
    entry["choices"] = [vars(choice) for choice in said.choices]
    return entry | ({"box": said.steps.box} if boxed else {})


def _read(pictures: list[str], reader: models.Reader, chosen: argparse.Namespace) -> int:
    entries = []
    for picture in pictures:
        try:
            answers = reader.read_all(picture) if chosen.all else [reader.read(picture)]
        except InkError as error:
            answers = [str(error).removeprefix(f"{picture}: ")]
        for said in answers:
            entries.append(_entry(picture, said, chosen.all))
            stream = sys.stderr if entries[-1]["error"] else sys.stdout
            if not chosen.json:
                print(f"{picture}: {said}", file=stream, flush=True)
    if chosen.json:
        # Only UTF-8 holds all that a name may; `\U0001f4f7` of another encoding is no JSON.
        ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        print(json.dumps(entries, ensure_ascii=ascii_only, indent=1))
    if any(entry["error"] for entry in entries):
        return 1
    return 0 if all(entry["sure"] for entry in entries) else 3


if __name__ == "__main__":
    sys.exit(main())
