"""How long did a program take, and how much memory did it need at most?

Run as `python -I -S launcher.py '{"command": [...], "count": 1, "log": "..."}'`. It starts `count` copies at once and prints one
JSON list: for each, in the order in which they ended, seconds since the first was started, peak resident memory in bytes and
exit code. It is a program of its own because Linux counts the memory of the process that starts a program as the program's:
this one needs about 10 MB, the benchmark itself more than some of the tools.
"""

from __future__ import annotations

import json
import os
import sys
import time


def run(command: list[str], count: int, log: str) -> list[dict[str, float]]:
    """Start `count` copies of `command`, wait for all and return what each took. Output goes to the file `log`."""
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: getrusage(2)
    began = time.perf_counter()
    for _ in range(count):
        os.posix_spawnp(command[0], command, os.environ, file_actions=files)
    ended = []
    for _ in range(count):
        _, status, usage = os.wait4(-1, 0)
        seconds = time.perf_counter() - began
        exit_code = os.waitstatus_to_exitcode(status)
        ended.append({"seconds": seconds, "memory": usage.ru_maxrss * unit, "exit_code": exit_code})
    return ended


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    print(json.dumps(run(order["command"], order["count"], order["log"])))
