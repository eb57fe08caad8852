"""Which SQL does a revision stand for, without asking a database?"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from railhead.errors import Stop
from railhead.history import env_file, planner
from railhead.history.env_file import target_metadata
from railhead.history.errors import line_of
from railhead.history.graph import Revision
from railhead.history.loader import config, without_warnings
from railhead.history.planner import Errand, MigrationStep, translated
from railhead.project import Project, VersionTable


def offline(environment: EnvironmentContext, table: VersionTable) -> None:
    """Write the SQL of what was typed to standard output (`--sql`), where the version is kept in `table`; touches no database."""
    environment.configure(
        url="postgresql+psycopg2://",
        target_metadata=target_metadata(environment.config, environment.script),
        **env_file.kept_in(table),
        literal_binds=True,
        transaction_per_migration=True,
        dialect_opts={"paramstyle": "named"},  # psycopg2's own style would double every percent sign
    )
    with translated(), environment.begin_transaction():
        try:
            environment.run_migrations(**env_file.arguments(environment.config, environment.script).arguments)
        except (Stop, CommandError):
            raise
        except Exception as error:  # anybody's code, which met no database
            raise _needs_a_database(error, Path(environment.script.versions)) from error


def downgrade_sql(project: Project, steps: Sequence[MigrationStep]) -> list[str] | None:
    """Return the statements of these steps; None when they cannot be written without asking the database."""
    alembic_config, written = _on_paper(project)
    planner.ERRAND.put(alembic_config, Errand())  # who calls wants an exception, not the end of the process
    script = ScriptDirectory.from_config(alembic_config)
    runs = [step.run for step in steps]
    environment = EnvironmentContext(
        alembic_config,
        script,
        fn=lambda _heads, _context: iter(runs),
        as_sql=True,
        starting_rev=tuple(steps[0].source),  # one head, or several: a history may have branches
    )
    try:
        with without_warnings(), environment:
            script.run_env()
    except Exception:
        return None  # op.get_bind() gives nothing without a database, and what follows is anybody's code
    return [statement for statement in written.statements if statement not in {"BEGIN", "COMMIT"}]


def upgrade_sql(project: Project, revision: Revision) -> str | None:
    """Return the SQL of a revision; None when it cannot be written without asking the database."""
    if len(revision.parents) > 1:
        return None
    alembic_config, written = _on_paper(project)
    try:
        with without_warnings():
            command.upgrade(alembic_config, f"{(*revision.parents, 'base')[0]}:{revision.id}", sql=True)
    except Exception:
        return None  # as above
    return ";\n".join(written.statements[1:-1]) or None  # between BEGIN and COMMIT


class _Paper(io.StringIO):
    """Takes SQL from Alembic, which writes statement by statement, and leaves out what is Alembic's own: remarks and its table."""

    def __init__(self, table: VersionTable) -> None:
        super().__init__()
        self._table = table
        self.statements: list[str] = []

    def write(self, text: str) -> int:
        if not text.startswith("-- Running ") and not self._table.is_named_in(text):
            self.statements.append(text.strip().removesuffix(";").strip())
        return len(text)


def _on_paper(project: Project) -> tuple[Config, _Paper]:
    alembic_config = config(project)
    alembic_config.output_buffer = written = _Paper(project.version_table)
    return alembic_config, written


def _needs_a_database(error: Exception, folder: Path) -> Stop:
    place = line_of(error, folder) or "a revision"
    return Stop(
        "needs-a-database",
        "a revision asks the database, so that its SQL cannot be written without one",
        facts=[("file", f"migrations/versions/{place}"), ("Python", f"{type(error).__name__}: {error}")],
        database="not touched",
        next_step="write the SQL of the others, from one revision to another:\nalembic upgrade FROM:TO --sql",
    )
