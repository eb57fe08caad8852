"""The name that `held_revision` had; it goes when nobody uses it."""

from tests.chaos.held_revision import *  # noqa: F403
