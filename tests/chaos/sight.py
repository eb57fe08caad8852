"""The name that `server_state` had; it goes when nobody uses it."""

from tests.chaos.server_state import *  # noqa: F403
