"""What are the heads, at one glance at the manifest? What a start with nothing to do reads of it, and no more.

The last line of the manifest holds digests of everything before it, and the heads. `manifest` reads and writes the other lines.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from railhead.history.checksum import checksum_of_tree, digest, parsed
from railhead.history.files import as_name, declared, parents_of, revision_files, unescape

SEAL = "# sealed"
NOTHING = "-"
_NO_REVISIONS = {"__init__.py", "__pycache__"}
"""What most folders hold beside revisions."""


Seal = tuple[str, str, str, str]
"""Of the last line: the digest of all files, that of their names, the heads, and the servable versions; the last two joined by commas."""


def heads_of(file: Path, folder: Path) -> tuple[tuple[str, ...], frozenset[str]] | None:
    """Return the heads that the manifest `file` gives for the revisions in `folder` when it can be believed at a glance, else None.

    And the versions from which only post-deploy work leads there, and whose schema has all that the models need. Believed: its seal holds, the folder holds the same files, and the file of each head means what was sealed and gives
    itself the same name and the same parents.
    """
    sealed = body_and_seal(file)
    if sealed is None:
        return None
    body, (_, names, heads, servable) = sealed
    if heads == NOTHING or not _holds(folder, names):
        return None
    lines = [_line_with(f" {head} ", body) for head in heads.split(",")]
    if not all(_is_as_sealed(folder, line) for line in lines):
        return None
    places = frozenset(map(unescape, servable.split(","))) - {NOTHING}
    return tuple(sorted(unescape(line.split(" ")[1]) for line in lines)), places


def body_and_seal(file: Path) -> tuple[str, Seal] | None:
    """Return the lines of a manifest as one text, and its seal; None unless it is there and the seal holds.

    The first format knew no servable versions.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    body, separator, seal = text.rpartition(f"{SEAL} ")
    try:
        whole, files, names, heads, *more = seal.split()
        (servable,) = more or (NOTHING,)
    except ValueError:
        return None
    if not separator or whole != body_digest(body, " ".join((heads, *more))):
        return None
    return body, (files, names, heads, servable)


def body_digest(body: str, places: str) -> str:
    """Return the digest of a manifest's lines, and of the heads and servable versions, for its seal."""
    return digest(f"{body}{places}".encode())


def names_digest(names: Iterable[str]) -> str:
    """Return the digest of the names of the revision files, for the seal."""
    return digest(os.fsencode("\n".join(sorted(names))))


def _holds(folder: Path, sealed: str) -> bool:
    """Tell whether the names of the revision files are those that were sealed."""
    try:
        names = {*os.listdir(folder)} - _NO_REVISIONS
    except OSError:
        return False
    # Most folders hold nothing else, and to look at each of a thousand names costs as much as all the rest.
    return sealed == names_digest(names) or sealed == names_digest(revision_files(folder))


def _is_as_sealed(folder: Path, line: str) -> bool:
    """Tell whether the file of a manifest's line means what the line says, by its digest, its name and its parents."""
    file, revision, parent = map(unescape, line.split(" ")[:3])
    checksum = line.split(" ")[3]
    try:
        tree = parsed((folder / as_name(file)).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    names = declared(tree)
    stated, parents = (names[name].value if name in names else None for name in ("revision", "down_revision"))
    sealed_parents = () if parent == NOTHING else tuple(parent.split(","))
    return stated == revision and parents_of(parents) == sealed_parents and checksum_of_tree(tree) == checksum


def _line_with(word: str, body: str) -> str:
    """Return the first line that has this word; a head, which is nobody's parent, is in one line only."""
    place = body.index(word)
    return body[body.rindex("\n", 0, place) + 1 : body.index("\n", place)]
