"""Which statements do something only for the transaction, or the session, that they stand in?

A lock that is taken for what comes next protects nothing in another revision; a search_path is needed in each.
"""

from __future__ import annotations

import ast
import re
from typing import Literal

from railhead.hazards import calls

Scope = Literal["", "transaction", "session"]

_TRANSACTION = re.compile(
    r"\s*(?:LOCK|SAVEPOINT|RELEASE|SET\s+(?:LOCAL|CONSTRAINTS)|(?:SET|RESET)\s+(?:SESSION\s+)?(?:lock_timeout|statement_timeout))\b"
    r"|\s*SELECT\s+(?:pg_catalog\.)?(?:pg_(?:try_)?advisory_xact_lock\w*|set_config)\s*\((?:(?!,\s*false).)*\)\s*$"
    r"|\s*SELECT\b.*\bFOR\s+(?:NO\s+KEY\s+UPDATE|KEY\s+SHARE|UPDATE|SHARE)(?:\s+(?:OF\s.+|NOWAIT))?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_SESSION = re.compile(r"\s*(?:SET|RESET)\b|\s*SELECT\s+(?:pg_catalog\.)?set_config\s*\(", re.IGNORECASE)

_RUNS = {"execute", "exec_driver_sql", "scalar"}


def scope_of(node: ast.stmt) -> Scope:
    """Tell for what a statement of a revision works: for its transaction or its session only, or (empty) for good."""
    text = _text(node)
    statements = [one for one in (text or "").split(";") if one.strip()]
    if not statements or not all(_TRANSACTION.match(one) or _SESSION.match(one) for one in statements):
        return ""
    return "transaction" if all(_TRANSACTION.match(one) for one in statements) else "session"


def _text(node: ast.stmt) -> str | None:
    """Return the SQL of a statement that runs a text and does nothing with the answer."""
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or calls.name(call) not in _RUNS or not call.args:
        return None
    return calls.text(call.args[0])
