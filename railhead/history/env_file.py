"""What does the project's env.py hand in?

Its models carry the naming convention by which Alembic names what a revision leaves unnamed: they are needed wherever revisions
run, in a replay too, and nowhere else. Models that cannot be imported stop no migration. What else it hands in is what people tell
`context.configure` elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import alembic.context
import psycopg2
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from railhead.errors import Stop
from railhead.history.config_attributes import Attribute
from railhead.history.errors import bad_env_file
from railhead.logs import log
from railhead.project import Project, VersionTable

if TYPE_CHECKING:
    from sqlalchemy import MetaData


class EnvArguments(NamedTuple):
    """What env.py says beside the models, in the words of Alembic's `context.configure` where it has one. Everything is optional."""

    ignore: Sequence[str] = ()
    """Patterns of tables, types and other things that are somebody else's: `celery_*`, `billing.*`."""
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    """Gives the context in which models are imported and revisions run: `app.app_context`."""
    arguments: Mapping[str, object] = MappingProxyType({})
    """What `upgrade()` and `downgrade()` are called with."""
    include_schemas: bool | None = None
    """None: the default schema, and those that the models name."""
    include_name: Callable[..., bool] | None = None
    include_object: Callable[..., bool] | None = None
    render_item: Callable[..., object] | None = None
    compare_type: bool | Callable[..., bool | None] = True
    compare_server_default: bool | Callable[..., bool | None] = True
    process_revision_directives: Callable[..., None] | None = None
    """Comes before Railhead's own, which makes files and safe operations of what it leaves."""
    user_module_prefix: str | None = None
    sqlalchemy_module_prefix: str = "sa."
    alembic_module_prefix: str = "op."
    version_table: str | None = None
    version_table_schema: str | None = None
    """Both must be what `[railhead]` in alembic.ini says, which a start reads without env.py."""


_MODELS: Attribute[Callable[[], MetaData]] = Attribute("models")
_ARGUMENTS: Attribute[EnvArguments] = Attribute("arguments")
_ONLY_ASKED: Attribute[bool] = Attribute("only-asked")

_DECIDED = {
    "render_as_batch": "batches are for SQLite",
    "transaction_per_migration": "each revision has its own transaction",
    "transactional_ddl": "PostgreSQL's is",
    "compare_enums": "enums are compared",
    "target_metadata": "models() gives it",
}
"""What plain Alembic is told elsewhere, and why it makes no difference here."""


def arguments_of(project: Project, said: Mapping[str, Any]) -> EnvArguments:
    """Return what env.py says. Raises Stop where that cannot be."""
    unknown = sorted(set(said) - set(EnvArguments._fields) - set(_DECIDED))
    if unknown:
        raise _refused(f"enter() does not take {', '.join(unknown)}", f"it takes {', '.join(EnvArguments._fields)}")
    for name in sorted(set(said) & set(_DECIDED)):
        log.warning("migrations/env.py: %s is not looked at: %s", name, _DECIDED[name])
    given = EnvArguments(**{name: value for name, value in said.items() if name in EnvArguments._fields})
    table = project.version_table
    wanted = VersionTable(given.version_table or table.name, given.version_table_schema or table.schema)
    if wanted != table:
        raise _refused(
            f"the version is in {wanted}, says migrations/env.py, and in {table}, says alembic.ini",
            "say it in alembic.ini, which a start reads without env.py:\n[railhead]\n"
            + "\n".join(
                f"{name} = {value}"
                for name, value in (("version_table", wanted.name), ("version_table_schema", wanted.schema))
                if value
            ),
        )
    return given


def _refused(headline: str, step: str) -> Stop:
    return Stop("env-file", headline, facts=[("file", "migrations/env.py")], database="not touched", next_step=step)


@contextmanager
def running(env: Path) -> Iterator[None]:
    """Inside, env.py runs: what it raises itself, before it hands over to the engine, becomes a Stop with its line."""
    try:
        yield
    except (Stop, KeyboardInterrupt, psycopg2.Error, DBAPIError):
        raise
    except BaseException as error:
        refusal = bad_env_file(error, env)
        if refusal is None:
            raise
        raise refusal from error


def kept_in(table: VersionTable) -> dict[str, Any]:
    """Return what tells Alembic where the version is kept."""
    return {"version_table": table.name, "version_table_schema": table.schema}


def take(environment: EnvironmentContext, models: Callable[[], MetaData], arguments: EnvArguments) -> bool:
    """Keep what env.py hands in, for whoever asks, and tell whether there is more to do than that."""
    _MODELS.put(environment.config, models)
    _ARGUMENTS.put(environment.config, arguments)
    return not is_only_asked(environment)


def is_only_asked(environment: EnvironmentContext) -> bool:
    """Tell whether somebody only wants to know what env.py hands in."""
    return bool(_ONLY_ASKED.get(environment.config))


def target_metadata(config: Config, script: ScriptDirectory) -> MetaData | None:
    """Return the models of the project, None when it has no env.py. Asks env.py, unless it is what called us.

    They are imported once something of them is asked for; where that fails, a warning says so.
    """
    with running(Path(script.env_py_location)):
        models = _MODELS.get(_asked(config, script))
    return cast("MetaData", _Late(models)) if models else None


def models_of(config: Config, script: ScriptDirectory) -> Callable[[], MetaData] | None:
    """Return what imports the models that env.py hands in, None where it hands in none. Raises what env.py raises."""
    return _MODELS.get(_asked(config, script))


class _Late:
    """The models, imported when an operation asks for their naming convention: of raw SQL none does, and SQLAlchemy's ORM takes 100 ms."""

    def __init__(self, models: Callable[[], MetaData]) -> None:
        self._models = models

    def __getattr__(self, name: str) -> object:
        if "_found" not in self.__dict__:
            self._found = _imported(self._models)
        return getattr(self._found, name)


def arguments(config: Config, script: ScriptDirectory) -> EnvArguments:
    """Return what env.py says beside the models. Asks it, unless it is what called us."""
    try:
        return _ARGUMENTS.get(_asked(config, script)) or EnvArguments()
    except Stop:
        raise
    except Exception as error:  # anybody's code, which who only looks does not need
        log.warning("migrations/env.py cannot be asked what it leaves out: %s: %s", type(error).__name__, error)
        return EnvArguments()


def _asked(config: Config, script: ScriptDirectory) -> Config:
    """Return the configuration in which env.py has put what it hands in."""
    if hasattr(alembic.context, "config"):  # Alembic's proxy is installed: we are called by way of env.py
        return alembic.context.config
    with _one_at_a_time:
        if _MODELS.get(config) is None:
            _ask(config, script)
    return config


_one_at_a_time = Lock()
"""Alembic's proxies belong to the process, and an application asks in several threads."""


def _ask(config: Config, script: ScriptDirectory) -> None:
    if not Path(script.env_py_location).exists():
        return
    _ONLY_ASKED.put(config, True)
    try:
        with EnvironmentContext(config, script):
            script.run_env()
    finally:
        _ONLY_ASKED.take_away(config)


def _imported(models: Callable[[], MetaData]) -> MetaData | None:
    from railhead.history.models import joined

    try:
        return joined(models())
    except Exception as error:
        log.warning(
            "the models cannot be imported, so revisions run without their naming convention: %s: %s",
            type(error).__name__,
            error,
        )
        return None
