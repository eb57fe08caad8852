"""The name that `databases`, `processes` and `project_tree` had together; it goes when nobody uses it."""

from __future__ import annotations

from tests.databases import Databases, memory, named, rows_of, url_of  # noqa: F401
from tests.processes import Running, environment, eventually  # noqa: F401
from tests.project_tree import ALEMBIC, GUNICORN, MIGRATE, ROOT, Tree, copy_project  # noqa: F401
