"""How long do `import app` and `create_app()` take?

Run as `python opening.py` in Railhead's tree; prints both in seconds. With `-X importtime` Python tells where the first goes.
"""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    """Import the application, make it, and say how long each took."""
    sys.path[0] = os.getcwd()
    began = time.perf_counter()
    import app

    imported = time.perf_counter()
    app.create_app()
    print(imported - began, time.perf_counter() - imported)


if __name__ == "__main__":
    main()
