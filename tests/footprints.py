"""How do tests judge migrations? They replay files of their own choice, and ask what could hurt."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from alembic.script import ScriptDirectory

from railhead.dsn import Dsn
from railhead.hazards import history_replay, rules
from railhead.hazards.footprint import Footprint
from railhead.hazards.rules import Finding
from railhead.history import loader
from railhead.history.graph import History
from tests.project_tree import PROJECT

EXAMPLES = Path(__file__).with_name("examples")
SCHEMA = EXAMPLES / "0001_schema.py"


def footprints_of(server: Dsn, folder: Path, wanted: Iterable[str] = ()) -> tuple[History, list[Footprint]]:
    """Return the history in `folder` and the footprints of the wanted revisions, else of the heads."""
    config = loader.config(PROJECT)
    config.set_main_option("version_locations", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    history = loader.history(PROJECT, ScriptDirectory.from_config(config))
    assert history.problem is None
    found = history_replay.footprints(server, history, wanted or history.heads, lambda _: None, config)
    return history, list(found)


def open_findings(server: Dsn, folder: Path, *files: Path) -> list[Finding]:
    """Return what could hurt about these files, on top of the examples' schema, and is not accepted."""
    for file in (SCHEMA, *files):
        shutil.copy2(file, folder / file.name)
    history, found = footprints_of(server, folder)
    return [
        finding
        for footprint in found
        for revision in [history.by_id[footprint.revision]]
        for finding in rules.findings(footprint, revision)
        if rules.accepted(revision, finding) is None
    ]
