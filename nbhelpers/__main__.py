"""`python -m nbhelpers`: look at this machine, execute notebooks, bring the README up to date."""

from __future__ import annotations

import argparse
import sys


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
    chosen = parser.parse_args(arguments)
    try:
        return _do(chosen)
    except (RuntimeError, ValueError, FileNotFoundError) as error:
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
        case _:
            from nbhelpers import execute

            return execute.run(chosen.notebooks, force=chosen.force, publish=chosen.publish)


if __name__ == "__main__":
    sys.exit(main())
