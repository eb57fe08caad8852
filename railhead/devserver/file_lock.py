"""Who still lives? Asked of the kernel, through locks on files, which end with the processes that hold them.

Never asks a pid, which may be somebody else's by now, and never removes a file, which others may have opened already.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

ALONE, TOGETHER, FREE = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN


def opened(path: Path) -> int:
    """Return a descriptor of the lock file, which no program started from here inherits."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, os.O_RDWR)
    give(path)
    return descriptor


def wait(descriptor: int, how: int) -> None:
    """Lock the file, ALONE or TOGETHER with others, as soon as nobody is in the way; or let it FREE."""
    fcntl.flock(descriptor, how)


def taken(descriptor: int, how: int) -> bool:
    """Lock the file, ALONE or TOGETHER with others, and return True, or False when somebody is in the way."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Tell whether a living process holds the lock for itself alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not taken(descriptor, TOGETHER)
    finally:
        os.close(descriptor)


def is_same(descriptor: int, path: Path) -> bool:
    """Tell whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def give(path: Path) -> None:
    """Let what root makes in somebody's folder be theirs."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
