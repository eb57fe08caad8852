"""`railhead` and `python -m railhead`: the command line of the project in which one stands."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from railhead import cli, named_models
from railhead.project import Project, around


def main() -> int:
    """Run one command on the project around this folder and return its exit code."""
    root = around(Path.cwd())
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))  # `models` and what revisions import
    exit_code = cli.main(Project(root=root, models=named_models.source(Project(root))))
    gc.freeze()  # the last look for reference cycles before the end, among hundreds of modules, is a tenth of a run
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
