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

from railhead.history.checksum import checksum_of_tree, digest, parsed
from railhead.history.files import as_name, as_text, declared, parents_of, revision_files
from railhead.history.origin import Origin, escape, unescape

_TITLE = "# Railhead manifest 1. Written by `python utils/migrate.py seal`; after a conflict rebase one branch, then seal again."
_COLUMNS = "# file revision parent checksum catalog previous-release hazards"
_SEAL = "# sealed"
_NOTHING = "-"
_NO_REVISIONS = {"__init__.py", "__pycache__"}
"""What most folders hold beside revisions."""


class SealedRevision(NamedTuple):
    """One line: a revision, its file and what is known of it; `-` where nothing is."""

    file: str
    revision: str
    parent: str
    """The parents' ids, joined by commas; `-` for the first."""
    checksum: str
    catalog: str = _NOTHING
    """The fingerprint of the catalog after it."""
    previous: str = _NOTHING
    """`works` or `breaks`: whether the previous release keeps working."""
    hazards: str = _NOTHING
    """`slug:table`, joined by commas; see `listed`."""

    @property
    def parents(self) -> tuple[str, ...]:
        """Return the ids of the revisions that this one builds on."""
        return () if self.parent == _NOTHING else tuple(self.parent.split(","))

    @property
    def breaking(self) -> bool | None:
        """Tell whether the previous release stops working; None when nobody has found out."""
        return {"works": False, "breaks": True}.get(self.previous)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Return the hazards as they were given to `listed`."""
        return () if self.hazards == _NOTHING else tuple(map(unescape, self.hazards.split(",")))

    @property
    def is_replayed(self) -> bool:
        """Tell whether what it does was found out; `seal --no-replay` lists it only."""
        return self.catalog != _NOTHING


class Manifest(NamedTuple):
    """The manifest as it was sealed."""

    entries: tuple[SealedRevision, ...]
    files_digest: str
    """Of the bytes of all revision files when it was sealed."""
    origin: Origin = Origin()

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
            one = todo.pop()
            if one in parents and one not in older:
                older.add(one)
                todo.extend(parents[one])
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
    whole = _whole(file)
    if whole is None:
        return None
    body, seal = whole
    try:
        entries = tuple(_entry(line) for line in body.split("\n") if line and not line.startswith("# "))
    except TypeError:
        return None
    return Manifest(entries, seal.files, Origin.parse(body))


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


def render(entries: Iterable[SealedRevision], folder: Path, origin: Origin | None = None) -> str:
    """Return the text of a manifest with these lines, sealed for the files in `folder` as they are now."""
    entries = tuple(entries)
    lines = (" ".join([*map(escape, entry[:3]), *entry[3:]]) for entry in entries)
    body = "\n".join([_TITLE, _COLUMNS, *(origin or Origin()).remarks(), *lines, ""])
    heads = ",".join(escape(head, ",") for head in Manifest(entries, "").heads) or _NOTHING
    names = _names_digest(as_name(entry.file) for entry in entries)
    whole = digest(f"{body}{heads}".encode())
    return f"{body}{_SEAL} {whole} {files_digest(folder)} {names} {heads}\n"


def listed(tokens: Iterable[str]) -> str:
    """Return hazards for a line of the manifest: `slug:table`, joined by commas; a table may be called anything."""
    return ",".join(escape(token, ",") for token in tokens) or _NOTHING


def head_without_alembic(file: Path, folder: Path) -> tuple[str, ...] | None:
    """Return the heads that the manifest gives when it can be believed at a glance, else None.

    Believed: its seal holds, the folder holds the same files, and the file of each head means what was sealed and gives
    itself the same name and the same parents.
    """
    whole = _whole(file)
    if whole is None:
        return None
    body, seal = whole
    if seal.heads == _NOTHING or not _holds(folder, seal.names):
        return None
    found = [_entry(_line_with(f" {head} ", body)) for head in seal.heads.split(",")]
    if not all(_is_as_sealed(folder / as_name(entry.file), entry) for entry in found):
        return None
    return tuple(sorted(entry.revision for entry in found))


class _Seal(NamedTuple):
    """The last line: digests, and what a start needs to know without reading the others."""

    body: str
    files: str
    names: str
    heads: str


def _whole(file: Path) -> tuple[str, _Seal] | None:
    """Return the lines of a manifest as one text, and its seal; None unless it is there and the seal holds."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    body, separator, words = text.rpartition(f"{_SEAL} ")
    if not separator or len(words.split()) != len(_Seal._fields):
        return None
    seal = _Seal(*words.split())
    return (body, seal) if seal.body == digest(f"{body}{seal.heads}".encode()) else None


def _holds(folder: Path, sealed: str) -> bool:
    """Tell whether the names of the revision files are those that were sealed."""
    try:
        names = {*os.listdir(folder)} - _NO_REVISIONS
    except OSError:
        return False
    # Most folders hold nothing else, and to look at each of a thousand names costs as much as all the rest.
    return sealed == _names_digest(names) or sealed == _names_digest(revision_files(folder))


def _names_digest(names: Iterable[str]) -> str:
    return digest(os.fsencode("\n".join(sorted(names))))


def files_digest(folder: Path) -> str:
    """Return one digest of the names and bytes of all revision files in `folder`."""
    digest = sha256()
    for name in sorted(revision_files(folder)):
        content = (folder / name).read_bytes()
        digest.update(os.fsencode(f"{name} {len(content)}\n") + content)
    return digest.hexdigest()[:16]


def _is_as_sealed(file: Path, entry: SealedRevision) -> bool:
    try:
        tree = parsed(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    names = declared(tree)
    revision, parent = (names[one].value if one in names else None for one in ("revision", "down_revision"))
    return (
        revision == entry.revision and parents_of(parent) == entry.parents and checksum_of_tree(tree) == entry.checksum
    )


def _entry(line: str) -> SealedRevision:
    fields = line.split(" ")
    return SealedRevision(*map(unescape, fields[:3]), *fields[3:])


def _line_with(word: str, body: str) -> str:
    """Return the first line that has this word; a head, which is nobody's parent, is in one line only."""
    place = body.index(word)
    return body[body.rindex("\n", 0, place) + 1 : body.index("\n", place)]
