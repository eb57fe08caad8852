"""What is a small application made of? `railhead init --new` writes the files in `templates/new/` into an empty folder."""

from __future__ import annotations

from importlib.resources import files as packaged

from railhead.init import env_text
from railhead.init.files import Change

_PLACES = {
    "app.py.txt": "app.py",
    "models.py.txt": "models.py",
    "0001_first.py.txt": "migrations/versions/0001_first.py",
    "test_history.py.txt": "tests/test_history.py",
    "alembic.ini": "alembic.ini",
    "Procfile": "Procfile",
    "requirements.txt": "requirements.txt",
    "gitignore": ".gitignore",
}
"""Where each file goes; what ends in .txt is Python that is not the package's own."""


def files() -> tuple[Change, ...]:
    """Return the files of the application."""
    folder = packaged("railhead.init") / "templates"
    changes = [Change(place, (folder / "new" / name).read_text(encoding="utf-8")) for name, place in _PLACES.items()]
    changes.append(Change("migrations/env.py", env_text.FLASK))
    changes.append(Change("migrations/script.py.mako", (folder / "script.py.mako").read_text(encoding="utf-8")))
    changes.append(Change(".env.example", (folder / "env.example").read_text(encoding="utf-8")))
    return tuple(changes)
