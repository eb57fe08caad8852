"""Where the files of a project are, in the layouts that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from railhead.project import Project, around


def write(root: Path, ini: str, text: str, *others: str) -> Project:
    """Write an alembic.ini and empty files beside it, and return the project."""
    for name in (ini, *others):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / ini).write_text(text)
    return Project(root, command="railhead")


def places(project: Project) -> list[str]:
    """Return alembic.ini, folder of env.py, folder of the revisions and manifest, from the root."""
    named = (project.alembic_ini, project.scripts, project.versions, project.manifest)
    return [place.relative_to(project.root).as_posix() for place in named]


@pytest.mark.parametrize(
    ("ini", "text", "expected"),
    [
        ("alembic.ini", "[alembic]\nscript_location = %(here)s/migrations\n", "migrations"),
        ("alembic.ini", "[alembic]\n# script_location = x\nscript_location = alembic\n", "alembic"),
        ("alembic.ini", "[alembic]\nscript_location: shop:db/migrations\n", "shop/db/migrations"),
        ("migrations/alembic.ini", "[alembic]\n", "migrations"),
        ("migrations/alembic.ini", "", "migrations"),
        ("database/alembic.ini", "[alembic]\n", "database"),
    ],
)
def test_folders_follow_from_alembic_ini(tmp_path: Path, ini: str, text: str, expected: str) -> None:
    """Alembic's layouts and Flask-Migrate's are understood, found from any folder of the project, and named in messages."""
    project = write(tmp_path, ini, text, f"{expected}/env.py", f"{expected}/versions/a.py")
    assert places(project) == [ini, expected, f"{expected}/versions", f"{expected}/manifest.txt"]
    assert project.spoken("in migrations/versions/a.py: python utils/migrate.py seal") == (
        f"in {expected}/versions/a.py: railhead seal"
    )
    if ini != "database/alembic.ini":
        assert around(tmp_path / expected / "versions") == tmp_path


def test_revisions_may_stand_apart(tmp_path: Path) -> None:
    """`version_locations` leads to a folder of its own, and messages name it."""
    text = "[alembic]\nscript_location = db\nversion_locations = %(here)s/steps\n"
    project = write(tmp_path, "alembic.ini", text, "db/env.py", "steps/a.py")
    assert places(project) == ["alembic.ini", "db", "steps", "db/manifest.txt"]
    assert project.spoken("migrations/versions/a.py and migrations/env.py") == "steps/a.py and db/env.py"


def test_folder_without_a_project_is_its_own(tmp_path: Path) -> None:
    """Where there is no alembic.ini the folder in which one stands is the project."""
    assert around(tmp_path / "x") == tmp_path / "x"
    assert places(Project(tmp_path))[2] == "migrations/versions"
