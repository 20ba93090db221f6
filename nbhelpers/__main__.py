"""`python -m nbhelpers`: look at this machine, execute notebooks, read pictures of characters."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbhelpers import models

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
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m nbhelpers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="what this machine has, and what a run would use")
    commands.add_parser("data", help="fetch the data sets and check them")
    commands.add_parser("readme", help="write the results into the README")
    run = commands.add_parser("run", help="execute notebooks into build/")
    run.add_argument("notebooks", nargs="*", help="such as 01 05; all of them by default")
    run.add_argument("--force", action="store_true", help="those too that have not changed")
    run.add_argument("--publish", action="store_true", help="write over the committed notebooks")
    run.add_argument("--jobs", type=int, help="how many at once; 2 on a CPU with several cores")
    compare = commands.add_parser("compare", help="this machine's results beside the reference")
    compare.add_argument("notebooks", nargs="*", help="such as 01 05; all of them by default")
    verify = commands.add_parser("verify", help="execute notebooks twice: is all the same again?")
    verify.add_argument("notebooks", nargs="*", help="at the smoke profile; all of them by default")
    verify.add_argument(
        "--full", nargs="*", default=["02"], metavar="NOTEBOOK", help="at the full profile; 02"
    )
    classify = commands.add_parser(
        "classify",
        help="say which character is on a picture",
        description=_CLASSIFY,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    classify.add_argument("pictures", nargs="+", metavar="PICTURE", help="a file")
    classify.add_argument(
        "--model",
        default="digits",
        help="digits (the default), tamil, or the name of a saved model such as resnet18",
    )
    classify.add_argument(
        "--models",
        type=Path,
        metavar="FOLDER",
        help="where it lies; by default the best under artifacts/ and results/models/",
    )
    classify.add_argument(
        "--json", action="store_true", help="print a list with the five likeliest of each picture"
    )
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not every terminal or file can hold Tamil letters
            stream.reconfigure(errors="backslashreplace")
    chosen = parser.parse_args(arguments)
    try:
        return _do(chosen)
    except BrokenPipeError:  # whoever reads our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _do(chosen: argparse.Namespace) -> int:
    # Each command imports what it needs: `doctor` must work where torch is missing.
    match chosen.command:
        case "doctor":
            from nbhelpers import doctor

            return doctor.report()
        case "data":
            from nbhelpers import data, sources, tamil

            for archive in data.mnist_archives():
                print(sources.fetch(archive))
            for part in (tamil.TRAIN, tamil.TEST):
                print(tamil.fetch(part))
            return 0
        case "readme":
            from nbhelpers import readme

            return readme.write()
        case "classify":
            return _classify(chosen.pictures, chosen.model, chosen.models, chosen.json)
        case "compare":
            from nbhelpers import compare

            return compare.run(chosen.notebooks, os.environ.get("NB_PROFILE"))
        case "verify":
            from nbhelpers import verify

            return verify.run(chosen.notebooks, chosen.full)
        case _:
            from nbhelpers import execute

            return execute.run(
                chosen.notebooks, force=chosen.force, publish=chosen.publish, jobs=chosen.jobs
            )


def _classify(pictures: list[str], model: str, folder: Path | None, as_json: bool) -> int:
    from nbhelpers import ink, models

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
        import json

        print(json.dumps(entries, ensure_ascii=False, indent=1))
    return 1 if failed else 3 if unsure else 0


def _entry(picture: str, answer: models.Answer | None = None, error: str | None = None) -> dict:
    """Return what `classify --json` says about a picture; keys without a value are null."""
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
