"""Where do the tools, the trees and the results live?

All below `.data/bench` of the checkout. Makes the virtual environment that every tool shares, Railhead too, so that none has a
shorter list of packages to look through than another.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from railhead.devserver.binaries import binary

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"
DATA = ROOT / ".data" / "bench"
TREES = DATA / "trees"
LOG = DATA / "output.log"
RESULTS = DATA / "results.json"
PROGRAMS = DATA / "venv" / "bin"
PYTHON = PROGRAMS / "python"
REPORT = ROOT / "docs" / "benchmarks.md"
CHART = ROOT / "docs" / "benchmarks.svg"


def install() -> None:
    """Make the virtual environment from `benchmarks/requirements.txt`, unless the one that is there is made from it."""
    stamp = DATA / "venv" / "made-from.txt"
    wanted = _requirements()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(DATA / "venv", ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(DATA / "venv")], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = subprocess.run(
        [*pip, "--requirement", str(HERE / "requirements.txt")], capture_output=True, text=True, check=False
    )
    if installed.returncode:
        raise SystemExit(f"the tools to measure cannot be installed:\n{installed.stderr}")
    stamp.write_text(wanted)


def psql() -> str:
    """Return the psql on this machine, or the one that comes with the embedded server."""
    return shutil.which("psql") or str(binary("psql"))


def clean_environment() -> dict[str, str]:
    """Return the little of this process's environment that a tool may see."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "TMPDIR", "USER") if name in os.environ}
    return {**kept, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}", "TZ": "UTC"}


def _requirements() -> str:
    files = (HERE / "requirements.txt", ROOT / "requirements.txt")
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return f"{sys.version}\n{digest}\n"
