"""The migrations of this project: one line, reversible, sealed, without surprises. Keep this file; it knows nothing of the board."""

from __future__ import annotations

from railhead.testing.history import *  # noqa: F403
