"""As whom may PostgreSQL's programs run?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from railhead.devserver.binaries import binary, failure

if TYPE_CHECKING:
    from pwd import struct_passwd


ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
"""What PostgreSQL's programs see: none of the caller's PG* variables, and its messages in English."""

_DAC_OVERRIDE = 1
"""Linux' number of the capability to pass the folders and read the files of others."""


class RunAs(NamedTuple):
    """As whom the server runs: what its process does before it becomes PostgreSQL, and whose its files are."""

    put_on: Callable[[], None] | None
    uid: int
    gid: int

    def own(self, folder: Path) -> None:
        """Give `folder` and all in it to this user."""
        if os.geteuid() == 0 and folder.stat().st_uid != self.uid:
            for place, _, files in os.walk(folder):
                for name in (place, *(os.path.join(place, file) for file in files)):
                    os.chown(name, self.uid, self.gid, follow_symlinks=False)


def choose(place: Path) -> RunAs:
    """Return a guise that works here for a server whose files stand in `place`.

    As an ordinary user: ourselves. As root: the owner of `place` if that is somebody else; else root under another name in a
    user namespace, which needs no permission changed; else, where namespaces are not allowed, an ordinary user with the one
    capability to pass root's folders.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        return RunAs(None if _has_name(uid) else _in_namespace(), uid, gid)
    owner = place.stat()
    reasons = []
    for guise in candidates(owner.st_uid, owner.st_gid):
        reason = _refusal(guise)
        if reason is None:
            return guise
        reasons.append(reason)
    raise failure(place, "root may not run PostgreSQL, and cannot be another user here: " + "; ".join(reasons))


def candidates(uid: int, gid: int) -> list[RunAs]:
    """Return the ways for root to run a server whose files belong to this user, best first."""
    if uid != 0:
        return [RunAs(_as_user(uid, gid), uid, gid)]
    user = _somebody()
    return [RunAs(_in_namespace(), 0, 0), RunAs(_as_user(user.pw_uid, user.pw_gid), user.pw_uid, user.pw_gid)]


def _refusal(guise: RunAs) -> str | None:
    """Return why PostgreSQL's programs cannot be run in this guise, or None when they can."""
    import subprocess

    try:
        subprocess.run(
            [str(binary("postgres")), "--version"],
            env=ENVIRONMENT,
            preexec_fn=guise.put_on,
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None


def _somebody() -> struct_passwd:
    """Return a user with a name, which initdb asks for, who is not root, and not the owner of what has none."""
    import pwd

    return min((user for user in pwd.getpwall() if user.pw_uid != 0), key=lambda user: user.pw_uid == 65534)


def _has_name(uid: int) -> bool:
    import pwd

    try:
        return bool(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return False


def _in_namespace() -> Callable[[], None]:
    """Return what moves a process into a user namespace where its user, root or nameless outside, is `nobody`.

    Outside it stays who it was, so that it may do with its own files what it always might. See user_namespaces(7).
    """
    import ctypes

    new_user_namespace = 0x10000000
    libc = ctypes.CDLL(None, use_errno=True)
    inside = _somebody()
    uid_map, gid_map = f"{inside.pw_uid} {os.geteuid()} 1", f"{inside.pw_gid} {os.getegid()} 1"

    def put_on() -> None:
        if not hasattr(libc, "unshare") or libc.unshare(new_user_namespace) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        for file, text in (("setgroups", "deny"), ("uid_map", uid_map), ("gid_map", gid_map)):
            descriptor = os.open(f"/proc/self/{file}", os.O_WRONLY)
            os.write(descriptor, text.encode())
            os.close(descriptor)

    return put_on


def _as_user(uid: int, gid: int) -> Callable[[], None]:
    """Return what turns root into this user, who keeps the right to pass closed folders where the kernel allows it.

    That right is an ambient capability: the one kind that survives into a program without any. See capabilities(7).
    """
    import ctypes

    set_securebits, no_setuid_fixup = 28, 1 << 2
    keep_capabilities, ambient, ambient_raise, version_3 = 8, 47, 2, 0x20080522
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(version_3, 0)
    # effective, permitted, inheritable; then the same for capabilities from 32 on
    sets = (ctypes.c_uint32 * 6)(*[1 << _DAC_OVERRIDE] * 3, 0, 0, 0)
    linux = hasattr(libc, "prctl") and hasattr(libc, "capset")

    def put_on() -> None:
        if linux:
            libc.prctl(set_securebits, no_setuid_fixup, 0, 0, 0)  # else access(2), which initdb asks, forgets the right
            libc.prctl(keep_capabilities, 1, 0, 0, 0)
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        if linux:  # may fail where root itself lacks the capability; then the folders must be open as they are
            libc.capset(header, sets)
            libc.prctl(ambient, ambient_raise, _DAC_OVERRIDE, 0, 0)

    return put_on
