"""`railhead init`: what is found in an application, what becomes of it, and the way back."""

from __future__ import annotations

from pathlib import Path

import pytest

from railhead.errors import Stop
from railhead.init import command, env_text, files, setup
from railhead.init.application import look
from railhead.project import Project
from railhead.settings import Settings
from tests.applications import inventory
from tests.project_tree import ROOT

FLASK_MIGRATES = """\
from flask import current_app
from alembic import context

config = context.config
fileConfig(config.config_file_name)
logger = logging.getLogger("alembic.env")
target_db = current_app.extensions["migrate"].db


def get_engine():
    return current_app.extensions["migrate"].db.engine


def run_migrations_online():
    def process_revision_directives(context, revision, directives):
        if getattr(config.cmd_opts, "autogenerate", False):
            script = directives[0]
            if script.upgrade_ops.is_empty():
                directives[:] = []

    with get_engine().connect() as connection:
        context.configure(connection=connection, target_metadata=target_db.metadata, {more}**conf_args)
        context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
"""


def snapshot(root: Path) -> dict[str, bytes]:
    """Return every file with its bytes."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def written(root: Path, application: dict[str, str]) -> Project:
    """Write an application, and return its project."""
    for name, text in application.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Project(root)


def agreed() -> None:
    """Agree to everything."""


def test_filters_and_version_table_are_taken_over(tmp_path: Path) -> None:
    """What env.py told `context.configure` is told to the door, alembic.ini says where the version is, and each is said."""
    plan = setup.of(written(tmp_path, inventory.FILES))
    changes = {change.path: change.text for change in plan.changes}
    assert (
        "entry.enter(context, lambda: target_metadata, around=around, include_object=include_object)"
        in changes["schema/env.py"]
    )
    assert (
        "# What the warehouse robots keep in our database is theirs.\ndef include_object(" in changes["schema/env.py"]
    )
    assert "[railhead]\nversion_table_schema = bookkeeping\napp = inventory:create_app\n" in changes["alembic.ini"]
    assert plan.remarks[:2] == (
        "taken over from schema/env.py: include_object",
        "schema/env.py says version_table_schema = bookkeeping: [railhead] in alembic.ini says it now",
    )
    compile(changes["schema/env.py"], "env.py", "exec")


def test_flask_migrates_own_env_py_becomes_one_call() -> None:
    """What Flask-Migrate wrote holds nothing of the application's own; a filter beside it stays."""
    assert env_text.taken_over(FLASK_MIGRATES.replace("{more}", ""), flask=True).text == env_text.FLASK
    own = FLASK_MIGRATES.replace("{more}", "include_name=mine, version_table='versions', ")
    taken = env_text.taken_over(f"def mine(name, *_):\n    return name != 'theirs'\n\n\n{own}", flask=True)
    assert taken.text.endswith(
        "def mine(name, *_):\n    return name != 'theirs'\n\n\nenter(context, include_name=mine)\n"
    )
    assert (taken.options, taken.lost) == ({"version_table": "versions"}, ())


def test_what_cannot_be_taken_over_is_said() -> None:
    """An argument that the door does not take, or that means something inside a function only, stays as a remark and is named."""
    more = "on_version_apply=tell, include_object=local_rule, "
    text = FLASK_MIGRATES.replace("{more}", more).replace(
        "        context.run", "        connection.execute(SET_ROLE)\n        context.run"
    )
    taken = env_text.taken_over(text, flask=True)
    lost = ("on_version_apply=tell", "include_object=local_rule", "connection.execute(SET_ROLE)")
    assert taken.lost == lost
    assert all(f"# Not taken over, look at it: {line}" in taken.text for line in lost)


def test_functions_inside_functions_come_along() -> None:
    """A rule that stood where the migrations were run stands at the top of the module."""
    text = FLASK_MIGRATES.replace("{more}", "process_revision_directives=process_revision_directives, ").replace(
        "if script.upgrade_ops.is_empty():", "if script.message == 'no':"
    )
    taken = env_text.taken_over(text, flask=True)
    assert "\ndef process_revision_directives(context, revision, directives):\n    if getattr(" in taken.text
    assert "config = context.config" in taken.text
    compile(taken.text, "env.py", "exec")


def test_second_run_changes_nothing_and_undo_gives_back_every_byte(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are written once; `--undo` leaves what was there before, and nothing else."""
    monkeypatch.syspath_prepend(tmp_path)
    project = written(tmp_path, inventory.FILES)
    (tmp_path / "schema" / "env.py").write_bytes(inventory.FILES["schema/env.py"].replace("\n", "\r\n").encode())
    before = snapshot(tmp_path)
    said: list[str] = []
    init = command.Init(settings._replace(project=project), said.append, agreed, replay=False)
    command.existing(init._replace(dry=True))
    assert snapshot(tmp_path) == before
    command.existing(init)
    after = snapshot(tmp_path)
    assert {"schema/manifest.txt", ".env.example", "Procfile", "schema/env.py"} <= {
        name for name in after if after[name] != before.get(name)
    }
    command.existing(init)
    assert snapshot(tmp_path) == after
    assert "every file is as it should be: nothing is written" in said
    command.take_back(project, said.append)
    assert snapshot(tmp_path) == before
    with pytest.raises(Stop, match="nothing to take back"):
        command.take_back(project, said.append)


def test_application_is_found_without_running_it(tmp_path: Path) -> None:
    """Factory, extension, metadata and what Migrate was told are read from the source; other people's packages are not."""
    written(
        tmp_path,
        {
            "shop/__init__.py": "db = SQLAlchemy()\nmigrate = Migrate(version_table='v')\ndef create_app():\n    app = Flask('x')\n    migrate.init_app(app, db, compare_type=False)\n    return app\nraise SystemExit",
            "shop/models.py": "class Base(DeclarativeBase): pass\n",
            "sandbox/pyvenv.cfg": "",
            "sandbox/lib.py": "app = FastAPI()\n",
            "tests/app.py": "app = FastAPI()\n",
        },
    )
    app = look(tmp_path)
    assert (app.framework, app.factory, app.file, app.db, app.metadata) == (
        *("flask", "shop:create_app", "shop/__init__.py", "shop:db"),
        "shop.models:Base.metadata",
    )
    assert app.migrate == {"version_table": "'v'", "compare_type": "False"}
    assert app.is_factory


def test_several_folders_of_revisions_are_refused(tmp_path: Path) -> None:
    """The manifest speaks of one folder: the message says how to come to one."""
    ini = "[alembic]\nscript_location = db\nversion_locations = db/versions plugins/versions\n"
    with pytest.raises(Stop) as caught:
        setup.of(written(tmp_path, {"alembic.ini": ini, "db/env.py": ""}))
    assert "git mv plugins/versions/*.py db/versions/" in caught.value.next_step


def test_folder_without_migrations_gets_them(tmp_path: Path) -> None:
    """Where nothing is there, everything is written."""
    plan = setup.of(written(tmp_path, {"models.py": "class Base(DeclarativeBase): pass\n"}))
    texts = {change.path: change.text for change in plan.changes}
    assert texts.keys() == {"alembic.ini", "migrations/env.py", "migrations/script.py.mako", ".env.example"}
    assert "from models import Base\n\n    return Base.metadata" in texts["migrations/env.py"]


def test_packaged_files_are_those_of_the_template() -> None:
    """What `init` writes is what stands here: the template of revisions, and the settings of the engine."""
    packaged = ROOT / "railhead" / "init" / "templates"
    assert (packaged / "script.py.mako").read_text() == (ROOT / "migrations" / "script.py.mako").read_text()
    example = (ROOT / ".env.example").read_text()
    assert all(line in example.splitlines() for line in (packaged / "env.example").read_text().splitlines())


def test_kept_files_survive_a_second_write(tmp_path: Path) -> None:
    """What is kept is what was there first, however often something is written."""
    (tmp_path / "a").write_text("first")
    files.write(tmp_path, [files.Change("a", "second")])
    files.write(tmp_path, [files.Change("a", "third"), files.Change("b/c", "new")])
    assert files.undo(tmp_path) == ["restored  a", "removed   b/c"]
    assert snapshot(tmp_path) == {"a": b"first"}
