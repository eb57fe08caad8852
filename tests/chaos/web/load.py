"""Fifty visitors who never rest: wrk, and the bare page that the board is measured beside."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.processes import Running
from tests.project_tree import Tree
from tests.web.replica import Replica

CONNECTIONS = 50

SEED = """
    INSERT INTO project (name) SELECT 'Project ' || n FROM generate_series(1, 20) n;
    INSERT INTO member (name) SELECT 'Member ' || n FROM generate_series(1, 50) n;
    INSERT INTO task (title, project_id, assignee_id, status, due_on)
    SELECT 'Task ' || n, 1 + n % 20, 1 + n % 50, (array['todo', 'doing', 'done'])[1 + n % 3]::task_status, current_date + n % 90
    FROM generate_series(1, 10000) n;
    ANALYZE
"""
"""Ten thousand tasks."""

BARE = '''
"""The least that a page can be in Flask: one template with one query, no session, no header, no form."""

import psycopg2
from flask import Flask, render_template
from jinja2 import DictLoader
from sqlalchemy import create_engine, text

from railhead.settings import load

PAGE = """<!doctype html><title>Tasks</title><ul>{% for id, title in tasks %}<li>{{ id }} {{ title }}</li>{% endfor %}</ul>"""

app = Flask(__name__)
app.jinja_loader = DictLoader({"page.html": PAGE})
engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(load().database), pool_size=5, max_overflow=0)


@app.get("/healthz")
def healthz():
    return "ok"


@app.get("/")
def index():
    with engine.connect() as connection:
        return render_template("page.html", tasks=connection.execute(text("SELECT id, title FROM task LIMIT 60")).all())
'''

_COUNT = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(arguments) answers = "" ; seen = {} end
function response(status)
   seen[status] = (seen[status] or 0) + 1
   local parts = {}
   if seen[status] < 3 or seen[status] % 20 == 0 then
      for code, count in pairs(seen) do table.insert(parts, string.format("%d=%d", code, count)) end
      answers = table.concat(parts, " ")
   end
end
function done(summary, latency, requests)
   local errors = summary.errors
   local codes = {}
   for _, thread in ipairs(threads) do table.insert(codes, thread:get("answers")) end
   print(string.format(
      'RESULT {"requests": %d, "seconds": %.3f, "lost": %d, "refused": %d, "median": %.2f, "p99": %.2f, "codes": "%s"}',
      summary.requests, summary.duration / 1e6, errors.connect + errors.read + errors.write + errors.timeout,
      errors.status, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, table.concat(codes, " ")))
end
"""


class Figures(NamedTuple):
    """What wrk saw. `median` and `p99` in milliseconds."""

    requests: int
    seconds: float
    lost: int
    """Connections that failed or timed out."""
    refused: int
    """Answers from 400 on."""
    median: float
    p99: float
    codes: frozenset[int]

    def __str__(self) -> str:
        return (
            f"{self.requests / self.seconds:.0f} requests/s, median {self.median:.0f} ms, 99 % within {self.p99:.0f} ms"
        )


def begin(project: Tree, replica: Replica, seconds: int) -> Running:
    """Begin to load the first page."""
    program = shutil.which("wrk")
    if program is None:
        pytest.skip("there is no wrk")
    script = Path(project.root / "count.lua")
    script.write_text(_COUNT)
    options = ("--threads", "2", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--timeout", "10s")
    return project.start(program, *options, "--script", str(script), f"{replica.address}/")


def figures(wrk: Running) -> Figures:
    """Return what it saw, once it has ended."""
    assert wrk.wait(120) == 0, wrk.stderr
    found = re.search("^RESULT (.*)$", wrk.stdout, re.MULTILINE)
    assert found, wrk.stdout
    told = json.loads(found[1])
    return Figures(**{**told, "codes": frozenset(int(code) for code in re.findall(r"(\d+)=", told["codes"]))})
