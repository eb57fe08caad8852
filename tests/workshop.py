"""The name that `forked_tree` had; it goes when nobody uses it."""

from tests.forked_tree import *  # noqa: F403
