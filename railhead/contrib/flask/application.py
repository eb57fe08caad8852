"""Which application do models and context come from, when env.py asks?

The one that runs; else the one that was given to `Railhead` in this process; else the one that `[railhead]` in alembic.ini, or
FLASK_APP, names, which is made then. Never serves and never migrates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask, current_app, has_app_context

from railhead import named_models
from railhead.logs import log
from railhead.project import Project, root_of
from railhead.project import around as project_around

if TYPE_CHECKING:
    from sqlalchemy import MetaData

offered: list[tuple[Flask, object]] = []
"""The applications that were given to `Railhead`, each with what has its models."""


def models() -> MetaData:
    """Return what the schema of the application's default database should be. May make the application."""
    app = _application()
    db = next((db for given, db in reversed(offered) if given is app), None) or app.extensions.get("sqlalchemy")
    metadata = named_models.metadata_of(db)
    if metadata is None:
        raise RuntimeError("the application names no models: write Railhead(app, db), where db has the metadata")
    if not metadata.tables:
        log.warning("the models know no table yet: put Railhead(app, db) last in the factory, behind what imports them")
    return metadata


@contextmanager
def around() -> Iterator[None]:
    """Inside, `current_app` is the application. One that cannot be made stops no migration: a warning says why."""
    if has_app_context():
        yield
        return
    try:
        app = _application()
    except Exception as error:  # anybody's code
        log.warning("revisions run without the application, which cannot be made: %s: %s", type(error).__name__, error)
        yield
        return
    with app.app_context():
        yield


def configuration(root: Path) -> Mapping[str, object]:
    """Return what the application says that is named in this project; nothing where it cannot be made."""
    try:
        return _made(root).config
    except Exception as error:
        log.warning("the application cannot be asked for its database: %s: %s", type(error).__name__, error)
        return {}


def _application() -> Flask:
    if has_app_context():
        return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001  Flask documents it
    return offered[-1][0] if offered else _made(_root())


_made_of: dict[Path, Flask] = {}


def _made(root: Path) -> Flask:
    if root not in _made_of:
        _made_of[root] = _make(root)
    return _made_of[root]


def _make(root: Path) -> Flask:
    named = named_models.named(Project(root))
    thing = named_models.imported(named) if named else None
    if not isinstance(thing, Flask) and (thing is None or named_models.metadata_of(thing) is not None):
        from flask.cli import ScriptInfo

        return ScriptInfo().load_app()
    app = thing if isinstance(thing, Flask) else thing()  # type: ignore[operator]
    assert isinstance(app, Flask), f"[railhead] models = {named} makes no Flask application"
    return app


def _root() -> Path:
    import alembic.context

    config = getattr(alembic.context, "config", None)
    named = config and config.config_file_name
    return root_of(Path(named)) if named else project_around(Path.cwd())
