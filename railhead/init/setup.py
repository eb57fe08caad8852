"""What has to be written into this project, and what is to be said about it? Reads files only.

Flask-Migrate's layout, Alembic's with its alembic.ini at the root, or none at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from railhead.errors import USAGE, Stop
from railhead.init import env_text
from railhead.init.application import Application, look
from railhead.init.files import Change
from railhead.project import Project

_INI = """\
# Where Alembic finds the migrations. The database comes from the environment (see .env.example), never from here.
[alembic]
script_location = %(here)s/migrations
prepend_sys_path = %(here)s
path_separator = os
file_template = %%(rev)s
revision_environment = true
"""

_IGNORED = (".data/", ".railhead/")


class Setup(NamedTuple):
    """What to write and what to say."""

    layout: str
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]
    lines: str
    """What the application's own code needs, for people to add."""


def of(project: Project) -> Setup:
    """Return what it takes. Raises Stop where the layout is not one that the engine can work with."""
    root = project.root
    app = look(root)
    ini_text = _read(project.alembic_ini)
    _assert_one_folder(ini_text)
    remarks: list[str] = []
    options: dict[str, str] = {}
    changes = [*_env(project, app, options, remarks)]
    changes += _ini(project, app, ini_text, options, remarks)
    changes += _around(root, app)
    needed = tuple(change for change in changes if change.is_needed(root))
    return Setup(_layout(project), needed, tuple(remarks), _lines(app))


def _layout(project: Project) -> str:
    ini = project.alembic_ini
    if not ini.is_file():
        return "no migrations yet: the folder migrations/ is made"
    where = (
        project.scripts.relative_to(project.root).as_posix()
        if project.scripts.is_relative_to(project.root)
        else project.scripts
    )
    if (ini.parent / "env.py").is_file():
        return f"Flask-Migrate's layout: {where}/ with its own alembic.ini"
    return f"Alembic's layout: alembic.ini here, env.py in {where}/"


def _env(project: Project, app: Application, options: dict[str, str], remarks: list[str]) -> Iterator[Change]:
    env_py = project.scripts / "env.py"
    before = _read(env_py)
    is_flask = app.framework == "flask"
    path = _from_root(env_py, project.root)
    template = _from_root(project.scripts / "script.py.mako", project.root)
    if not before:
        yield Change(path, env_text.FLASK if is_flask and app.db else _fresh_env(app))
        yield Change(template, _packaged("script.py.mako"))
        return
    if env_text.is_door(before):
        return
    try:
        taken = env_text.taken_over(before, flask=is_flask)
    except SyntaxError as error:
        raise Stop(
            "env-file",
            f"{path} cannot be read, so nothing of it can be taken over",
            facts=[("Python", str(error))],
            database="not touched",
            next_step=f"correct {path}",
        ) from error
    options |= taken.options
    if taken.arguments:
        remarks.append(f"taken over from {path}: {', '.join(taken.arguments)}")
    remarks += [
        f"{path} says {name} = {value}: [railhead] in alembic.ini says it now" for name, value in taken.options.items()
    ]
    remarks += [f"NOT taken over from {path}, look at it: {text}" for text in taken.lost]
    yield Change(path, taken.text)


def _ini(
    project: Project, app: Application, text: str, options: dict[str, str], remarks: list[str]
) -> Iterator[Change]:
    for name in env_text.KEPT_IN:
        if name in app.migrate:
            options.setdefault(name, app.migrate[name].strip("'\""))
            remarks.append(f"Migrate(...) says {name}: [railhead] in alembic.ini says it now")
    if app.framework == "flask" and app.factory:
        options.setdefault("app", app.factory)
    has = project.options
    missing = {name: value for name, value in options.items() if name not in has}
    new = text or _INI
    if missing:
        lines = "".join(f"{name} = {value}\n" for name, value in missing.items())
        if re.search(r"^\[railhead\]\s*$", new, re.MULTILINE):
            new = re.sub(r"^(\[railhead\]\s*\n)", lambda match: match[1] + lines, new, count=1, flags=re.MULTILINE)
        else:
            new = f"{new.rstrip()}\n\n# What Railhead reads: the application, whose models and context the migrations get.\n[railhead]\n{lines}"
    if "sqlalchemy.url" in text and not re.search(r"^sqlalchemy\.url\s*=\s*(driver://|$)", text, re.MULTILINE):
        remarks.append(
            "the database comes from DATABASE_URL now (SQLALCHEMY_DATABASE_URI is understood), not from sqlalchemy.url in alembic.ini"
        )
    yield Change(_from_root(project.alembic_ini, project.root), new)


def _around(root: Path, app: Application) -> Iterator[Change]:
    if not (root / ".env.example").exists():
        yield Change(".env.example", _packaged("env.example"))
    if app.factory and not any((root / name).exists() for name in ("Procfile", "Dockerfile", "boot.sh")):
        call = f"{app.factory}()" if app.is_factory else app.factory
        served = (
            f"gunicorn '{call}'" if app.framework == "flask" else f"uvicorn {app.factory} --host 0.0.0.0 --port $PORT"
        )
        yield Change("Procfile", f"web: {served}\n")
    ignored = _read(root / ".gitignore")
    missing = [line for line in _IGNORED if line not in ignored.splitlines()]
    if missing and (ignored or (root / ".git").exists()):
        yield Change(".gitignore", f"{ignored.rstrip()}\n" * bool(ignored) + "".join(f"{line}\n" for line in missing))


def _fresh_env(app: Application) -> str:
    module, _, attribute = (app.metadata or "models:Base.metadata").partition(":")
    tables = "".join(f"    import {name}  # noqa: F401  its tables\n" for name in app.table_modules)
    if tables and not app.metadata:
        module, attribute = "sqlmodel", "SQLModel.metadata"
    name = attribute.partition(".")[0]
    return (
        f"{env_text.DOCUMENTATION}\nfrom alembic import context\nfrom sqlalchemy import MetaData\n\n"
        "from railhead.execution import entry\n"
        "from railhead.operations import verbs  # noqa: F401  registers the verbs that migrations use\n\n\n"
        "def models() -> MetaData:\n"
        '    """Return what the schema should be. A function, because only some commands need it and the import is not free."""\n'
        f"{tables}    from {module} import {name}\n\n    return {attribute}\n\n\n"
        "entry.enter(context, models)\n"
    )


def _lines(app: Application) -> str:
    if app.framework == "flask":
        db = (app.db or app.metadata or "models:Base.metadata").partition(":")
        place = (
            "last in the factory, when the models are imported"
            if app.is_factory
            else "behind the line that makes the application"
        )
        return (
            f"in {app.file}:\n    from railhead.contrib.flask import Railhead\nand {place}:\n    Railhead(app, {db[2]})"
        )
    if app.framework == "fastapi":
        return f"in {app.file}, before the application serves (in its lifespan):\n    import railhead\n\n    railhead.migrate_on_startup()"
    return "before the application serves:\n    import railhead\n\n    railhead.migrate_on_startup()"


def _assert_one_folder(ini_text: str) -> None:
    match = re.search(r"^version_locations\s*=\s*(.+)$", ini_text, re.MULTILINE)
    places = re.split(r"[ ,;:]+(?!//)", match[1].strip()) if match else []
    if len(places) > 1:
        raise Stop(
            "several-version-locations",
            "alembic.ini names several version_locations, and the manifest speaks of one folder",
            facts=[("alembic.ini", f"version_locations = {match[1].strip() if match else ''}")],
            database="not touched",
            next_step="put the revision files into one folder (Alembic links them by their ids, not by where they are):\n"
            f"git mv {' '.join(f'{place}/*.py' for place in places[1:])} {places[0]}/\n"
            f"and let alembic.ini say  version_locations = {places[0]}",
            exit_code=USAGE,
        )


def _from_root(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _packaged(name: str) -> str:
    return (files("railhead.init") / "templates" / name).read_text(encoding="utf-8")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return ""
