"""How does gunicorn run the application? Found by itself: `gunicorn 'app:create_app()'` needs no options."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # gunicorn reads this file before it adds the folder itself

from railhead import logs
from railhead.contrib.gunicorn import listen_first, on_starting, post_fork, when_ready  # noqa: F401  gunicorn calls them
from railhead.errors import Stop
from railhead.project import Project
from railhead.settings import load

try:
    settings = load(Project(root=Path(__file__).resolve().parent))
except Stop as stop:
    sys.stderr.write(stop.render() + "\n")
    raise SystemExit(stop.exit_code) from None

# The factory runs once, in the master: migrations are done before the port opens, and a failure ends the process.
preload_app = True
workers = settings.web_concurrency
worker_class = "gthread"  # a slow client holds a thread, not a worker
threads = 4

# In development the board may be open to whoever reaches it, so only this machine does.
host = "0.0.0.0" if settings.production else "127.0.0.1"  # noqa: S104  the platform's router comes from outside
bind = f"{host}:{settings.port}"
if settings.listen == "on":
    listen_first(host, settings.port)

timeout = 30
graceful_timeout = 20
keepalive = 5
control_socket_disable = True
limit_request_line = 8190

# Forwarded headers are believed in one place, app/security.py, which looks at who the neighbour is.
forwarded_allow_ips = ""

# Standard output for everything: platforms show what comes on standard error as errors.
accesslog = "-"
access_log_format = "%(m)s %({raw_uri}e)s %(s)s %(M)s ms, %(B)s bytes, for %(h)s (request %({x-request-id}o)s)"
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": lambda: logs.formatter(settings)}},
    "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stdout"}},
    "root": {"level": "WARNING", "handlers": ["stdout"]},
    "loggers": {
        "gunicorn.error": {"level": settings.log_level.upper(), "handlers": ["stdout"], "propagate": False},
        "gunicorn.access": {"level": "INFO", "handlers": ["stdout"], "propagate": False},
    },
}
