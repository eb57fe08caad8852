"""Processes with a view of the machine of their own: other files in /etc, other numbers for processes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def may_unshare(*what: str) -> bool:
    """Tell whether this user may do that here."""
    program = shutil.which("unshare")
    return program is not None and subprocess.run([program, *what, "true"], capture_output=True).returncode == 0


def with_files(*files: Path) -> tuple[str, ...]:
    """Return how a command begins that sees these files in the place of those of the same names in /etc."""
    mounts = " && ".join(f'mount --bind "{file}" /etc/{file.name}' for file in files)
    return ("unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh")
