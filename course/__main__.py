"""`python -m course`: look at this machine, execute the notebooks, check and publish them."""

import argparse
import os
import sys
from pkgutil import resolve_name

COMMANDS = {  # which function does it, and what that is
    "doctor": ("doctor:report", "what this machine has, and what a run would use"),
    "data": ("doctor:fetch", "fetch the data sets and check them"),
    "readme": ("readme:write", "write the results into the README"),
    "run": ("execute:run", "execute notebooks into build/"),
    "compare": ("compare:run", "this machine's results beside the reference"),
    "verify": ("verify:run", "execute notebooks twice: is all the same again?"),
    "exercises": ("exercises:run", "write notebooks whose answers are checked"),
    "slides": ("slides:run", "write chapters as slides that need no network"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m course", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    made = {name: commands.add_parser(name, help=words) for name, (_, words) in COMMANDS.items()}
    for name in ("run", "compare", "verify", "exercises", "slides"):
        words = "such as 01 05; all of them by default"
        made[name].add_argument("wanted", metavar="notebooks", nargs="*", help=words)
    run, compare, verify = (made[name] for name in ("run", "compare", "verify"))
    run.add_argument("--force", action="store_true", help="those too that have not changed")
    run.add_argument("--publish", action="store_true", help="write over the committed notebooks")
    run.add_argument("--jobs", type=int, help="how many at once; 2 on a CPU with several cores")
    compare.set_defaults(profile=os.environ.get("NB_PROFILE"))
    verify.add_argument("--full", nargs="*", default=["02"], help="those at the full profile; 02")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not every terminal or file can hold Tamil letters
            stream.reconfigure(errors="backslashreplace")
    options = vars(parser.parse_args(arguments))
    function, _ = COMMANDS[options.pop("command")]
    try:
        # Each command imports what it needs: `doctor` must work where torch is missing.
        return resolve_name(f"course.{function}")(**options)
    except BrokenPipeError:  # whoever reads our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
