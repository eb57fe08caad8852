"""`railhead` and `python -m railhead`: the command line of the project in which one stands."""

from __future__ import annotations

import gc
import sys

from railhead import cli, here


def main() -> int:
    """Run one command on the project around this folder and return its exit code."""
    exit_code = cli.main(here.project())
    gc.freeze()  # the last look for reference cycles before the end, among hundreds of modules, is a tenth of a run
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
