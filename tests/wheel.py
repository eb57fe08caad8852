"""The wheel of the package, and environments into which it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.project_tree import ROOT

_BUILD = "import sys; from flit_core.buildapi import build_wheel; print(build_wheel(sys.argv[1]))"


def build(place: Path) -> Path:
    """Return the wheel of a copy of what the package is made of, built below `place`."""
    source, made = place / "source", place / "wheel"
    made.mkdir()
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "railhead", source / "railhead", ignore=shutil.ignore_patterns("__pycache__"))
    for sample in ("app", "utils", "tests", "migrations"):
        (source / sample).mkdir()
        (source / sample / "__init__.py").touch()
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, str(made)], cwd=source, capture_output=True, text=True, check=True
    )
    return made / built.stdout.splitlines()[-1]


def install(place: Path, *requirements: str) -> Path:
    """Return Python in a fresh environment at `place` that has these packages, from the registry that pip is configured with."""
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = place / "bin" / "python"
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements],
        check=True,
        capture_output=True,
        text=True,
    )
    return python
