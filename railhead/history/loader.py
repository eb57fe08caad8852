"""Which revisions are there? Reads the files through Alembic."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import CycleDetected, RevisionError
from alembic.util import CommandError

from railhead.errors import Stop
from railhead.history import checksum, manifest
from railhead.history.errors import bad_file, forked, no_history, too_long, twice
from railhead.history.graph import History, Revision
from railhead.settings import ROOT


def config(root: Path = ROOT) -> Config:
    """Return Alembic's configuration for the project in `root`."""
    return Config(root / "alembic.ini")


def history(script: ScriptDirectory | None = None) -> History:
    """Return the revisions on disk, each module loaded once. Its `problem` says what keeps them from being run."""
    script = script or ScriptDirectory.from_config(config())
    try:
        with _loading(script):
            found = [_revision(one) for one in script.walk_revisions("base", "heads")][::-1]
    except Stop as stop:
        return History([], stop)
    loaded = History(found).adopting(manifest.origin().adopted)
    loaded.problem = forked(loaded) or too_long(loaded)
    return loaded


@contextmanager
def no_garbage_collection(*, wanted: bool = True) -> Iterator[None]:
    """Inside, Python does not look for reference cycles: a tenth of a run with 1000 revisions, a fifth of `drift` with 500 tables."""
    before = gc.isenabled()
    if wanted:
        gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def checksums(files: Mapping[str, str]) -> dict[str, str | None]:
    """Return the checksum of each revision's file, from the manifest when every sealed file still has its bytes."""
    sealed = manifest.read()
    if sealed is not None and sealed.is_true():
        return {entry.revision: entry.checksum for entry in sealed.entries}
    return {revision: checksum.checksum_of(manifest.FOLDER / file) for revision, file in files.items()}


def _revision(script: Script) -> Revision:
    module = script.module
    down = script.down_revision
    parents = () if down is None else (down,) if isinstance(down, str) else tuple(down)
    breaking, accepted = getattr(module, "breaking", None), getattr(module, "accepted_hazards", {})
    path = Path(script.path)
    if not isinstance(breaking, bool | None) or not isinstance(accepted, dict):
        wrong = TypeError("`breaking` must be True or False, `accepted_hazards` a dict with a reason for each hazard")
        raise bad_file(wrong, path.parent, path.name)
    return Revision(
        id=script.revision,
        parents=parents,
        file=path.name,
        message=(script.doc or "").strip(),
        breaking=breaking,
        accepted_hazards=dict(accepted),
    )


@contextmanager
def _loading(script: ScriptDirectory) -> Iterator[None]:
    """Turn everything that can be wrong with revision files into a Stop that names them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except Stop:
            raise
        except (CycleDetected, RevisionError, CommandError) as error:
            raise no_history(str(error)) from error
        except KeyError as error:
            raise no_history(_first(caught) or f"the parent {error} does not exist") from error
        except (Exception, SystemExit) as error:
            raise bad_file(error, Path(script.versions)) from error
    several = [str(one.message) for one in caught if "more than once" in str(one.message)]
    if several:
        raise twice(several[0].split()[1])
    if caught:
        raise no_history(_first(caught))


def _first(caught: list[warnings.WarningMessage]) -> str:
    return str(caught[0].message) if caught else ""
