"""What is our history on disk, without importing Alembic?

`migrations/manifest.txt` lists every revision once, oldest first. It makes a start with nothing to do cheap, and it makes two
branches that each add a revision conflict in git. Nothing that is correct may rest on it: what does not fit is not believed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from railhead.history.files import as_name, as_text, escape, revision_files, unescape
from railhead.history.glance import NOTHING, SEAL, body_and_seal, body_digest, names_digest
from railhead.history.origin import Origin

_TITLE = "# Railhead manifest 2. Written by `python utils/migrate.py seal`; after a conflict rebase one branch, then seal again."
_FIRST_FORMAT = "# Railhead manifest 1."
_COLUMNS = "# file revision parent checksum catalog previous-release hazards phase"


class SealedRevision(NamedTuple):
    """One line: a revision, its file and what is known of it; `-` where nothing is."""

    file: str
    revision: str
    parent: str
    """The parents' ids, joined by commas; `-` for the first."""
    checksum: str
    catalog: str = NOTHING
    """The fingerprint of the catalog after it."""
    previous: str = NOTHING
    """`works` or `breaks`: whether the previous release keeps working."""
    hazards: str = NOTHING
    """`slug:table`, joined by commas; see `listed`."""
    phase: str = NOTHING
    """`pre-deploy` or `post-deploy`; the first format of the manifest did not know it."""

    @property
    def parents(self) -> tuple[str, ...]:
        """Return the ids of the revisions that this one builds on."""
        return () if self.parent == NOTHING else tuple(self.parent.split(","))

    @property
    def breaking(self) -> bool | None:
        """Tell whether the previous release stops working; None when nobody has found out."""
        return {"works": False, "breaks": True}.get(self.previous)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Return the hazards as they were given to `listed`."""
        return () if self.hazards == NOTHING else tuple(map(unescape, self.hazards.split(",")))

    @property
    def is_replayed(self) -> bool:
        """Tell whether what it does was found out; `seal --no-replay` lists it only."""
        return self.catalog != NOTHING


class Manifest(NamedTuple):
    """The manifest as it was sealed."""

    entries: tuple[SealedRevision, ...]
    files_digest: str
    """Of the bytes of all revision files when it was sealed."""
    origin: Origin = Origin()
    servable: tuple[str, ...] = ()
    """The versions from which only post-deploy work leads to the head, and whose schema has all that the models need."""
    is_first_format: bool = False
    """Whether it was written before there were phases; `seal` writes it anew."""

    @property
    def heads(self) -> tuple[str, ...]:
        """Return the ids that are nobody's parent, sorted."""
        parents = {parent for entry in self.entries for parent in entry.parents}
        return tuple(sorted(entry.revision for entry in self.entries if entry.revision not in parents))

    @property
    def adopted(self) -> set[str]:
        """Return the ids of the revisions that are older than the first seal, so that nobody has to look at them."""
        parents = {entry.revision: entry.parents for entry in self.entries}
        older, todo = set[str](), [self.origin.adopted, self.origin.baseline]
        while todo:
            revision = todo.pop()
            if revision in parents and revision not in older:
                older.add(revision)
                todo.extend(parents[revision])
        return older

    @property
    def is_judged(self) -> bool:
        """Tell whether somebody has looked at every revision that is to be looked at."""
        return {entry.revision for entry in self.entries if not entry.is_replayed} <= self.adopted

    def entry(self, revision: str) -> SealedRevision | None:
        """Return the line of `revision`, None when it is not sealed."""
        return next((entry for entry in self.entries if entry.revision == revision), None)

    def lists(self, folder: Path) -> bool:
        """Tell whether `folder` holds exactly the files that were sealed."""
        return sorted(entry.file for entry in self.entries) == sorted(map(as_text, revision_files(folder)))

    def is_true(self, folder: Path) -> bool:
        """Tell whether every file still has the bytes that were sealed. Reads them all."""
        try:
            return self.lists(folder) and self.files_digest == files_digest(folder)
        except OSError:
            return False


def read(file: Path) -> Manifest | None:
    """Return the manifest; None when it is missing, cut short, in conflict, or changed by anything but `seal`."""
    sealed = body_and_seal(file)
    if sealed is None:
        return None
    body, (digest_of_files, _, _, servable) = sealed
    try:
        entries = tuple(_entry(line) for line in body.split("\n") if line and not line.startswith("# "))
    except TypeError:
        return None
    places = tuple(unescape(place) for place in servable.split(",") if place != NOTHING)
    return Manifest(entries, digest_of_files, Origin.parse(body), places, body.startswith(_FIRST_FORMAT))


def entries(file: Path) -> dict[str, SealedRevision]:
    """Return what is sealed of each revision, by its id; nothing when there is no manifest to believe."""
    manifest = read(file)
    return {entry.revision: entry for entry in manifest.entries} if manifest else {}


def origin(file: Path) -> Origin:
    """Return where the history begins. A manifest that is cut short or in conflict still says it: only a person draws that line."""
    try:
        return Origin.parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return Origin()


def render(
    entries: Iterable[SealedRevision], folder: Path, origin: Origin | None = None, servable: Iterable[str] = ()
) -> str:
    """Return the text of a manifest with these lines, sealed for the files in `folder` as they are now."""
    entries = tuple(entries)
    lines = (" ".join([*map(escape, entry[:3]), *entry[3:]]) for entry in entries)
    body = "\n".join([_TITLE, _COLUMNS, *(origin or Origin()).remarks(), *lines, ""])
    heads = ",".join(escape(head, ",") for head in Manifest(entries, "").heads) or NOTHING
    names = names_digest(as_name(entry.file) for entry in entries)
    places = f"{heads} {listed(servable)}"
    return f"{body}{SEAL} {body_digest(body, places)} {files_digest(folder)} {names} {places}\n"


def listed(tokens: Iterable[str]) -> str:
    """Return hazards for a line of the manifest: `slug:table`, joined by commas; a table may be called anything."""
    return ",".join(escape(token, ",") for token in tokens) or NOTHING


def files_digest(folder: Path) -> str:
    """Return one digest of the names and bytes of all revision files in `folder`."""
    digest = sha256()
    for name in sorted(revision_files(folder)):
        content = (folder / name).read_bytes()
        digest.update(os.fsencode(f"{name} {len(content)}\n") + content)
    return digest.hexdigest()[:16]


def _entry(line: str) -> SealedRevision:
    fields = line.split(" ")
    return SealedRevision(*map(unescape, fields[:3]), *fields[3:])
