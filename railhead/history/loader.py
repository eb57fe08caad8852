"""Which revisions are there? Reads the files through Alembic."""

from __future__ import annotations

import gc
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import CycleDetected, RevisionError
from alembic.util import CommandError

from railhead.errors import Stop
from railhead.history import manifest
from railhead.history.alembic_quirks import SCRIPT as ALEMBIC
from railhead.history.alembic_quirks import being_loaded
from railhead.history.errors import bad_file, files_of, forked, no_history, too_long, twice
from railhead.history.files import as_text, revision_files
from railhead.history.graph import POST_DEPLOY, PRE_DEPLOY, History, Revision
from railhead.logs import log
from railhead.project import Project


def config(project: Project) -> Config:
    """Return Alembic's configuration for the project."""
    configuration = Config(project.alembic_ini)
    configuration.set_main_option("script_location", str(project.scripts).replace("%", "%%"))  # wherever one stands
    return configuration


def history(project: Project, script: ScriptDirectory | None = None) -> History:
    """Return the revisions on disk, each module loaded once. Its `problem` says what keeps them from being run."""
    script = script or ScriptDirectory.from_config(config(project))
    try:
        with loading(script):
            names = _linked(project.versions)
            found = [_revision(one, names) for one in script.walk_revisions("base", "heads")][::-1]
    except Stop as stop:
        return History(project, [], stop)
    loaded = History(project, found).begun(manifest.origin(project.manifest))
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


def _linked(folder: Path) -> dict[Path, Path]:
    """Return the symbolic links among the revisions by the files that they lead to, which is where Alembic finds itself."""
    links = (folder / name for name in revision_files(folder) if (folder / name).is_symlink())
    return {link.resolve(): link for link in links}


def _revision(script: Script, links: Mapping[Path, Path]) -> Revision:
    module = script.module
    down = script.down_revision
    parents = () if down is None else (down,) if isinstance(down, str) else tuple(down)
    breaking, accepted = getattr(module, "breaking", None), getattr(module, "accepted_hazards", {})
    phase = getattr(module, "phase", PRE_DEPLOY)
    path = links.get(Path(script.path), Path(script.path))
    if not isinstance(breaking, bool | None) or not isinstance(accepted, dict):
        wrong = TypeError("`breaking` must be True or False, `accepted_hazards` a dict with a reason for each hazard")
        raise bad_file(wrong, path.parent, path.name)
    if phase not in {PRE_DEPLOY, POST_DEPLOY}:
        wrong_phase = ValueError(f'`phase` must be "{PRE_DEPLOY}" or "{POST_DEPLOY}", not {phase!r}')
        raise bad_file(wrong_phase, path.parent, path.name)
    return Revision(
        id=script.revision,
        parents=parents,
        path=path,
        message=(script.doc or "").strip(),
        breaking=breaking,
        accepted_hazards=dict(accepted),
        phase=phase,
    )


@contextmanager
def without_warnings() -> Iterator[None]:
    """Inside, Python does not say what it thinks of the code: it has been told already, or will be where that matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def loading(script: ScriptDirectory) -> Iterator[None]:
    """Turn everything that can be wrong with revision files into a Stop that names them, and tell of what Python warns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except Stop:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | GeneratorExit) or type(error).__module__.startswith("railhead."):
                raise
            raise _not_loaded(error, Path(script.versions), caught) from error
    of_history = [warning for warning in caught if _is_of_history(warning)]
    several = [str(warning.message) for warning in of_history if "more than once" in str(warning.message)]
    if several:
        raise twice(several[0].split()[1], Path(script.versions))
    if of_history:
        raise no_history(_first(of_history))
    files = files_of(Path(script.versions)) if caught else {}
    for warning in caught:
        _tell(warning, files)


def _not_loaded(error: BaseException, folder: Path, caught: list[warnings.WarningMessage]) -> Stop:
    """Return what is said of an error: of the file that was being loaded, or of how the files hang together."""
    for cause in _causes(error):
        if file := being_loaded(cause):
            return bad_file(cause, folder, files_of(folder).get(str(file), as_text(file.name)))
    if isinstance(error, CycleDetected | RevisionError | CommandError):
        return no_history(str(error))
    if isinstance(error, KeyError):
        return no_history(_first(caught) or f"the parent {error} does not exist")
    return bad_file(error, folder)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was made of: Python makes another of a StopIteration, Alembic of errors of its own classes."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_of_history(warning: warnings.WarningMessage) -> bool:
    """Tell whether it is Alembic that warns, of how the files hang together; all others are about Python code."""
    return ALEMBIC in Path(warning.filename).parents


def _tell(warning: warnings.WarningMessage, files: Mapping[str, str]) -> None:
    """Log a warning, once in a process. What only will go away some day is told by `python -W`, as everywhere in Python."""
    file = files.get(warning.filename)
    place = f"migrations/versions/{file}" if file else Path(warning.filename).name
    told = f"{place}, line {warning.lineno}: {warning.category.__name__}: {warning.message}"
    if told in _told or not _is_worth_a_line(warning):
        return
    _told.add(told)
    log.warning("%s", told.partition("\n")[0])


def _is_worth_a_line(warning: warnings.WarningMessage) -> bool:
    """Tell whether somebody would want to know: as Python decides by itself, or as its options say."""
    if sys.warnoptions:
        return "ignore" not in sys.warnoptions
    escape = issubclass(warning.category, DeprecationWarning) and _ESCAPE.match(str(warning.message))
    return bool(escape) or not issubclass(warning.category, _SOME_DAY)


def _first(caught: list[warnings.WarningMessage]) -> str:
    return str(caught[0].message) if caught else ""


_ESCAPE = re.compile(r"invalid (?:\w+ )?(?:escape sequence|literal)")
"""A DeprecationWarning of the compiler's, which Python 3.12 calls a SyntaxWarning, and shows."""

_SOME_DAY = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""What Python itself does not show of imported code."""

_told: set[str] = set()
