"""Does generated code look as the formatter would leave it?"""

from __future__ import annotations

import subprocess
import sys

import pytest

from railhead.autogenerate.layout import tidy

CODE = {
    "short": "op.drop_column('task', 'a')",
    "long call": "op.create_table('task', sa.Column('id', sa.BigInteger(), nullable=False), sa.Column('title', sa.Text(), server_default=sa.text(\"now() || 'a'\"), nullable=False), schema='shop')",
    "nested list": f"op.create_index_concurrently('ix', 'task', [{', '.join(repr('column_' + str(n)) for n in range(12))}], unique=True, postgresql_ops={{'a': 'text_pattern_ops'}})",
    "quotes": """op.execute('SELECT "a", \\'b\\', $x$ \\\\ $x$')\nop.execute("it's")\nop.execute('"a"')""",
    "remarks": "# first\nop.f('a')  # behind\n# last\nop.g(('a',), *x, **y, z=-1)",
    "a line that cannot be broken": f"op.execute({'x' * 130!r})",
    "a single list": f"op.f([{', '.join([repr('y' * 60)] * 3)}])\nop.f(x=[{', '.join([repr('y' * 60)] * 3)}])",
    "chain": "sa.Enum('todo', 'doing', name='task_status').create(op.get_bind())",
    "other statements": "with op.get_context().autocommit_block():\n    pass\nx = 1",
}


@pytest.mark.parametrize("name", CODE)
def test_code_is_what_the_formatter_makes_of_it(name: str) -> None:
    """What `tidy` gives is what `ruff format` gives, for the statements that migrations are made of."""
    code = CODE[name]
    template = "def upgrade() -> None:\n    {}\n"
    indented = "\n".join("    " + line for line in code.splitlines()).strip()
    ours = template.format(tidy(indented))
    ruff = [sys.executable, "-m", "ruff", "format", "--line-length=120", "--isolated", "--no-cache", "-"]
    theirs = subprocess.run(ruff, input=template.format(indented), capture_output=True, text=True, check=True).stdout
    assert ours == theirs


def test_nothing_stays_nothing() -> None:
    """An empty body is left empty, for the template to fill."""
    assert tidy("") == ""
