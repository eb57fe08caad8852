"""The name that `footprints` had; it goes when nobody uses it."""

from tests.footprints import *  # noqa: F403
