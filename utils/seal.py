"""Is the manifest true, and how is it written?

Only `python utils/migrate.py seal` writes `migrations/manifest.txt`. Checking never writes.
"""

from __future__ import annotations

import os

from utils import manifest, revisions
from utils.manifest import Entry
from utils.revisions import Revision


def wanted() -> str:
    """Return the text that the manifest must have for the files as they are. Raises Stop when they form no history."""
    history = revisions.history()
    if history.problem:
        raise history.problem
    sealed = manifest.read()
    return manifest.render(_entry(one, sealed) for one in history.by_id.values())


def write() -> tuple[int, bool]:
    """Write the manifest. Returns how many revisions it lists, and whether it changed."""
    text = wanted()
    before = manifest.FILE.read_text(encoding="utf-8") if manifest.FILE.exists() else ""
    if text != before:
        unfinished = manifest.FILE.with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, manifest.FILE)
    return text.count("\n") - 3, text != before


def differences() -> list[str]:
    """Return what keeps the manifest from being true, one sentence each; none when it is."""
    if not manifest.FILE.exists():
        return ["migrations/manifest.txt is missing"]
    if manifest.FILE.read_text(encoding="utf-8", errors="replace") == wanted():
        return []
    sealed = manifest.read()
    if sealed is None:
        return ["migrations/manifest.txt was cut short, is in conflict, or was changed by hand"]
    history = revisions.history()
    found = {entry.revision: entry for entry in sealed.entries}
    told = [f"{one.file} is not sealed" for one in history.by_id.values() if one.id not in found]
    told += [f"{entry.file} is sealed, but gone" for entry in sealed.entries if entry.revision not in history.by_id]
    told += [
        f"{one.file} means something else than when it was sealed"
        for one in history.by_id.values()
        if one.id in found and found[one.id].checksum != manifest.checksum_of(manifest.FOLDER / one.file)
    ]
    return told or ["the files were reformatted or reordered since they were sealed"]


def _entry(revision: Revision, sealed: manifest.Manifest | None) -> Entry:
    """Return the line of a revision; what was found out about it stays as long as its file means the same."""
    checksum = manifest.checksum_of(manifest.FOLDER / revision.file) or "-"
    parent = ",".join(revision.parents) or "-"
    known = sealed.entry(revision.id) if sealed else None
    if known and known.checksum == checksum and known.parent == parent:
        return known._replace(file=revision.file)
    return Entry(revision.file, revision.id, parent, checksum)
