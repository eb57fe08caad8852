"""Which application do models and context come from, when env.py asks?

The one that runs; else the one that was given to `Railhead` in this process; else the one that `[railhead]` in alembic.ini, or
FLASK_APP, names, which is made then. Never serves and never migrates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from flask import Flask, current_app, has_app_context

from railhead import named_models
from railhead.logs import log
from railhead.project import Project, root_of
from railhead.project import around as project_around
from railhead.settings import names_a_database

if TYPE_CHECKING:
    from alembic.runtime.environment import EnvironmentContext
    from sqlalchemy import MetaData

offered: WeakKeyDictionary[Flask, object] = WeakKeyDictionary()
"""The applications that were given to `Railhead`, each with what has its models; the newest is the last."""


def models() -> MetaData:
    """Return what the schema of the application's default database should be. May make the application."""
    app = _application()
    db = offered.get(app) or app.extensions.get("sqlalchemy")
    metadata = named_models.metadata_of(db)
    if metadata is None:
        raise RuntimeError("the application names no models: write Railhead(app, db), where db has the metadata")
    if not metadata.tables:
        log.warning("the models know no table yet: put Railhead(app, db) last in the factory, behind what imports them")
    return metadata


@contextmanager
def around() -> Iterator[None]:
    """Inside, `current_app` is the application. One that cannot be made stops no migration: the log says why, once."""
    if has_app_context():
        yield
        return
    try:
        app = _application()
    except Exception as error:  # anybody's code
        _tell(f"revisions run without the application, which cannot be made: {type(error).__name__}: {error}")
        yield
        return
    with app.app_context():
        yield


def configuration(root: Path | None = None) -> Mapping[str, object]:
    """Return what the application says. It is made for that only where the environment names no database; nothing where that fails."""
    if has_app_context():
        return current_app.config
    if newest := _newest():
        return newest.config
    if names_a_database():
        return {}
    try:
        return _made(root or _root()).config
    except Exception as error:
        log.warning("the application cannot be asked for its database: %s: %s", type(error).__name__, error)
        return {}


def enter(environment: EnvironmentContext, **said: Any) -> None:
    """Be the whole of an application's env.py: `enter(context)`. `said` is what `railhead.execution.entry.enter` takes.

    What Flask-Migrate was told (`Migrate(app, db, include_object=...)`) holds, unless it is said here.
    """
    from railhead.execution import entry
    from railhead.history.env_file import EnvArguments
    from railhead.operations import verbs  # noqa: F401  registers the verbs that migrations use

    told = {name: value for name, value in _told_to_flask_migrate().items() if name in EnvArguments._fields}
    entry.enter(environment, models, configuration=configuration, **{"around": around, **told, **said})


def _told_to_flask_migrate() -> Mapping[str, Any]:
    """Return what `Migrate` was given beside application and models, where the application is there."""
    app = current_app if has_app_context() else _newest()
    kept = app.extensions.get("migrate") if app else None
    return getattr(kept, "configure_args", None) or {}


def _application() -> Flask:
    if has_app_context():
        return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001  Flask documents it
    return _newest() or _made(_root())


def _tell(sentence: str) -> None:
    """Log an error, once in a process, where a replay is quiet too."""
    if sentence not in _told:
        _told.add(sentence)
        log.error("%s", sentence)


_told: set[str] = set()


def _newest() -> Flask | None:
    return next(reversed(list(offered)), None)


_made_of: dict[Path, Flask] = {}


def _made(root: Path) -> Flask:
    if root not in _made_of:
        _made_of[root] = _make(root)
    return _made_of[root]


def _make(root: Path) -> Flask:
    named = Project(root).options.get("app") or named_models.named(Project(root))
    thing = named_models.imported(named) if named else None
    if not isinstance(thing, Flask) and (thing is None or named_models.metadata_of(thing) is not None):
        from flask.cli import ScriptInfo

        return ScriptInfo().load_app()
    app = thing if isinstance(thing, Flask) else thing()  # type: ignore[operator]
    assert isinstance(app, Flask), f"{named}, which [railhead] in alembic.ini names, makes no Flask application"
    return app


def _root() -> Path:
    import alembic.context

    config = getattr(alembic.context, "config", None)
    named = config and config.config_file_name
    return root_of(Path(named)) if named else project_around(Path.cwd())
