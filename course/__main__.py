"""`python -m course`: look at this machine, execute the notebooks, check and publish them."""

import argparse
import os
import sys
from importlib import import_module


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m course", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="what this machine has, and what a run would use")
    commands.add_parser("data", help="fetch the data sets and check them")
    commands.add_parser("readme", help="write the results into the README")
    run = commands.add_parser("run", help="execute notebooks into build/")
    compare = commands.add_parser("compare", help="this machine's results beside the reference")
    verify = commands.add_parser("verify", help="execute notebooks twice: is all the same again?")
    exercises = commands.add_parser("exercises", help="write notebooks whose answers are checked")
    slides = commands.add_parser("slides", help="write chapters as slides that need no network")
    for command in (run, compare, verify, exercises, slides):
        command.add_argument("notebooks", nargs="*", help="such as 01 05; all of them by default")
    run.add_argument("--force", action="store_true", help="those too that have not changed")
    run.add_argument("--publish", action="store_true", help="write over the committed notebooks")
    run.add_argument("--jobs", type=int, help="how many at once; 2 on a CPU with several cores")
    verify.add_argument("--full", nargs="*", default=["02"], help="those at the full profile; 02")
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
    if chosen.command == "data":
        from nbhelpers import data, sources, tamil

        for archives in (*([one] for one in data.mnist_archives()), tamil.TRAIN, tamil.TEST):
            print(sources.fetch(*archives))
        return 0
    # Each command imports what it needs: `doctor` must work where torch is missing.
    module = import_module(f"course.{'execute' if chosen.command == 'run' else chosen.command}")
    match chosen.command:
        case "doctor":
            return module.report()
        case "readme":
            return module.write()
        case "exercises" | "slides":
            return module.run(chosen.notebooks)
        case "compare":
            return module.run(chosen.notebooks, os.environ.get("NB_PROFILE"))
        case "verify":
            return module.run(chosen.notebooks, chosen.full)
    options = {name: getattr(chosen, name) for name in ("force", "publish", "jobs")}
    return module.run(chosen.notebooks, **options)


if __name__ == "__main__":
    sys.exit(main())
