"""Writes docs/writing-migrations.md from the hazards, their examples and the verbs: `python -m tests.guide`."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from railhead.hazards.rules import HAZARDS, Hazard
from railhead.hazards.table_names import in_words
from railhead.operations.names import REPEATABLE
from railhead.operations.verbs import Verbs
from tests.footprints import EXAMPLES
from tests.project_tree import ROOT

PLACE = ROOT / "docs" / "writing-migrations.md"

_INTRODUCTION = """\
# Writing migrations

<!-- Written by `python -m tests.guide` from railhead/hazards/rules.py, tests/examples and railhead/operations/verbs.py. -->

A migration runs while the application serves requests, and the release before it goes on serving on the new schema. What
could go wrong then has {count} names. They are found by running each revision once on a scratch database and asking PostgreSQL
what it did; nobody guesses from SQL. A table is large from `MIGRATE_LARGE_TABLE` rows on (100,000 unless set otherwise).

```
alembic revision --autogenerate -m "add due date"   # proposes operations that do not block
python utils/migrate.py seal                        # tries it, names what could hurt, writes migrations/manifest.txt
python utils/migrate.py plan                        # the same against the tables of this database, with SQL and locks
```

| Hazard | On a large table |
| --- | --- |
{table}

What **blocks** makes traffic wait for as long as it takes; on a large table it is refused before anything is touched, with the
revision rewritten. The others are told by `seal`, `plan` and `status`; what was sealed before a hazard was known is judged for it once it
is sealed again (take migrations/manifest.txt away, then `seal`; an adopted history with `--adopted-up-to`, one with a baseline with `--from`).

What a replay cannot see, `seal` and `plan` say: what a revision does with rows that it asks for, since its tables are empty there. What an
UPDATE or the USING of another type writes in the place of a value is not counted as lost; nor is what a trigger deletes.

To accept a hazard, say why in the revision's file; a reason is required, and `slug:table` accepts it for one table only:

```python
accepted_hazards = {{"rewrites-table": "the table has a few hundred rows"}}
breaking = False  # since release 41 nothing reads this column: what the catalogs say of the previous release is overruled
```

## Verbs that block nobody

Each leaves the revision's transaction, gives way to traffic, and may be run again from the top after a crash. A revision holds
only such verbs, or none.

{verbs}
"""


def render() -> str:
    """Return the text of the guide."""
    rows = [f"| [`{one.slug}`](#{one.slug}) | {_consequence(one)} |" for one in HAZARDS.values()]
    verbs = [_verb(name) for name in sorted(REPEATABLE)]
    head = _INTRODUCTION.format(count=_number(len(rows)), table="\n".join(rows), verbs="\n".join(verbs))
    return "\n".join([head, *map(_section, HAZARDS.values())])


def _number(count: int) -> str:
    return {9: "nine", 10: "ten", 11: "eleven", 12: "twelve"}.get(count, str(count))


def _consequence(hazard: Hazard) -> str:
    if hazard.slug == "not-repeatable":
        return "refused where a run has ended well before"
    if hazard.destroys:
        return "refused on a table of any size, wherever something is there to lose"
    return "**blocks**: refused" if hazard.blocking else "told"


def _verb(name: str) -> str:
    method = getattr(Verbs, name)
    signature = ", ".join(
        parameter.name
        for parameter in inspect.signature(method).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name != "operations"
    )
    first = _documented()[name].splitlines()[0]
    return f"- `op.{name}({signature})`: {first[:1].lower()}{first[1:]}"


def _documented() -> dict[str, str]:
    """Return the docstrings as they were written: Alembic, which registers the methods, writes others over them."""
    tree = ast.parse(Path(inspect.getfile(Verbs)).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_docstring(node) or "" for node in functions}


def _section(hazard: Hazard) -> str:
    example = {name: _shown(hazard.slug, name, "upgrade") for name in ("bad", "good")}
    if hazard.slug == "not-reversible":  # where the two differ only in the way back
        example = {name: _shown(hazard.slug, name, "upgrade", "downgrade") for name in ("bad", "good")}
    danger = _told(hazard.danger, hazard)
    instead = _told(hazard.instead, hazard)
    return f"""\
## {hazard.slug}

{danger[:1].upper()}{danger[1:]}

{hazard.story}

```python
# tests/examples/{hazard.slug}/bad.py
{example["bad"]}
```

Instead:

```
{instead}
```

```python
# tests/examples/{hazard.slug}/good.py
{example["good"]}
```
"""


def _told(text: str, hazard: Hazard) -> str:
    return text.format(table="task", thing=hazard.thing.format(table="task"), **in_words("task"))


def _shown(slug: str, name: str, *functions: str) -> str:
    """Return what an example says above its functions, and these functions."""
    source = (EXAMPLES / slug / f"{name}.py").read_text(encoding="utf-8")
    title = re.match(r'"""(.*)"""', source)
    told = re.findall(r"^(?:accepted_hazards|breaking) = .*$", source, re.MULTILINE)
    bodies = [re.search(rf"^def {one}\(.*?(?=\n\n\n|\Z)", source, re.MULTILINE | re.DOTALL) for one in functions]
    shown = "\n\n\n".join(body[0].rstrip() for body in bodies if body)
    return "\n".join([f"# {title[1] if title else ''}", *told, *([""] if told else []), shown])


if __name__ == "__main__":
    PLACE.write_text(render(), encoding="utf-8")
