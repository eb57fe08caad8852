"""What is written, and how does one get back? Each file that is replaced is kept, byte for byte, in `.railhead/`."""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

KEPT = ".railhead"
_LIST = "replaced.json"


class Change(NamedTuple):
    """A file as it shall be."""

    path: str
    """From the root."""
    text: str

    def diff(self, root: Path) -> str:
        """Return what changes, as people read it; nothing where nothing does."""
        before = _text(root / self.path)
        return "".join(
            difflib.unified_diff(
                (before or "").splitlines(keepends=True),
                self.text.splitlines(keepends=True),
                "/dev/null" if before is None else self.path,
                self.path,
            )
        )

    def is_needed(self, root: Path) -> bool:
        """Tell whether the file is not like that already."""
        return _text(root / self.path) != self.text


def write(root: Path, changes: Iterable[Change], made_later: Iterable[str] = ()) -> None:
    """Write the files, and keep what they replace; `made_later` are files that are going to be made, and go with an undo."""
    kept = root / KEPT
    known: dict[str, bool] = _known(root)
    for path in (*(change.path for change in changes), *made_later):
        if path in known:
            continue
        known[path] = (root / path).is_file()
        if known[path]:
            (kept / "files" / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, kept / "files" / path)
    kept.mkdir(exist_ok=True)
    (kept / _LIST).write_text(json.dumps(known, indent=1))
    for change in changes:
        (root / change.path).parent.mkdir(parents=True, exist_ok=True)
        (root / change.path).write_text(change.text, encoding="utf-8")


def undo(root: Path) -> list[str] | None:
    """Give back every file as it was, take away those that were made, and return what was done; None where nothing is kept."""
    known = _known(root)
    if not known:
        return None
    done = []
    for path, was_there in known.items():
        if was_there:
            shutil.copy2(root / KEPT / "files" / path, root / path)
            done.append(f"restored  {path}")
        elif (root / path).is_file():
            (root / path).unlink()
            done.append(f"removed   {path}")
            _prune((root / path).parent, root)
    shutil.rmtree(root / KEPT)
    return done


def _prune(folder: Path, root: Path) -> None:
    """Remove folders that hold nothing any more but what Python compiled."""
    while folder != root and not [entry for entry in folder.iterdir() if entry.name != "__pycache__"]:
        shutil.rmtree(folder)
        folder = folder.parent


def _known(root: Path) -> dict[str, bool]:
    try:
        known: dict[str, bool] = json.loads((root / KEPT / _LIST).read_text())
    except OSError:
        return {}
    return known


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
