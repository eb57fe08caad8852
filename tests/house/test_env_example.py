"""`.env.example` and the settings name the same variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest
from dotenv import dotenv_values

from railhead.errors import Stop
from railhead.settings import Settings
from tests.project_tree import ROOT

GIVEN_BY_PLATFORMS = {
    "DATABASE_UNPOOLED_URL",
    "RAILWAY_GIT_COMMIT_SHA",
    "RAILWAY_REPLICA_ID",
    "SQLALCHEMY_DATABASE_URI",
}
"""Read where a platform, or an application with Flask-SQLAlchemy, sets them; nobody writes them into this file."""
LIBPQS = {"PGHOSTADDR", "PGSERVICE"}
"""Reach libpq as usual; we only have to know where they lead."""

EXAMPLE = (ROOT / ".env.example").read_text()


class Recorder(Mapping[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, **variables: str) -> None:
        """Hold these variables."""
        self.variables = variables
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)


def read_by_settings() -> set[str]:
    """Return every variable that `Settings.from_env` reads."""
    silent = Recorder()
    Settings.from_env(silent)
    return silent.asked


def shown() -> list[str]:
    """Return the variables that `.env.example` shows, commented out as they are."""
    return re.findall(r"^#?([A-Z][A-Z_]*)=", EXAMPLE, re.MULTILINE)


def test_example_lists_exactly_the_settings() -> None:
    """Every setting is in `.env.example` once, and nothing else is."""
    assert sorted(shown()) == sorted(read_by_settings() - GIVEN_BY_PLATFORMS - LIBPQS)


def test_example_explains_each_setting() -> None:
    """Above each setting, or group of settings, stands what it means."""
    lines = EXAMPLE.splitlines()
    groups = [index for index, line in enumerate(lines) if re.match(r"#[A-Z_]+=", line)]
    for index in groups:
        assert index - 1 in groups or lines[index - 1].startswith("# "), lines[index]


def test_example_decides_nothing_as_it_stands() -> None:
    """Copied to `.env` without a change it sets nothing."""
    assert dotenv_values(ROOT / ".env.example") == {}


def test_example_is_accepted_with_every_line_uncommented() -> None:
    """Each value in it is one that the settings take."""
    uncommented = re.sub(r"^#(?=[A-Z][A-Z_]*=)", "", EXAMPLE, flags=re.MULTILINE)
    variables = dict(line.split("=", 1) for line in uncommented.splitlines() if re.match(r"[A-Z_]+=", line))
    try:
        Settings.from_env(variables)
    except Stop as stop:
        pytest.fail(stop.render())


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("MIGRATE_WAIT_DATABASE", "wait_database"),
        ("MIGRATE_WAIT_LOCK", "wait_lock"),
        ("MIGRATE_LOCK_TIMEOUT", "lock_timeout"),
        ("MIGRATE_STATEMENT_TIMEOUT", "statement_timeout"),
        ("MIGRATE_IDLE_TIMEOUT", "idle_timeout"),
        ("MIGRATE_LARGE_TABLE", "large_table"),
        ("MIGRATE_HAZARDS", "hazards"),
        ("MIGRATE_ON_START", "migrate_on_start"),
        ("DEV_CREATE_TABLES", "dev_create_tables"),
        ("LOG_LEVEL", "log_level"),
        ("PORT", "port"),
        ("WEB_CONCURRENCY", "web_concurrency"),
    ],
)
def test_example_shows_the_default(variable: str, field: str) -> None:
    """The value shown is the one that holds when nothing is set."""
    match = re.search(rf"^#{variable}=(.*)$", EXAMPLE, re.MULTILINE)
    assert match
    assert getattr(Settings.from_env({variable: match[1]}), field) == getattr(Settings.from_env({}), field)
