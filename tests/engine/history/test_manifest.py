"""The manifest may be anything at all: a start that does not believe it takes the longer way, and ends at the same place."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.history import glance, manifest
from railhead.history.checksum import checksum_of, checksum_of_source
from railhead.history.manifest import SealedRevision
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.processes import environment
from tests.project_tree import PROJECT, ROOT

FIRST = SealedRevision("0001_a.py", "0001_a", "-", "c1")
SECOND = SealedRevision("0002_b.py", "0002_b", "0001_a", "c2", "fingerprint", "breaks", "rewrites-table:task")

HEAD = "0002_add_task_due_on"

RICH = '''\
"""A module with much of the language in it."""
from __future__ import annotations
import sqlalchemy as sa
from alembic import op as operations
revision: str = "0001_rich"
down_revision = None
sizes = {"one": 1, "two": 2.5, "three": 3j, "big": 1_000_000, "bytes": b"\\x00\\xff", "none": None, "dots": ...}
name = f"{revision!r:>{10 + 2}} and {sizes['one']:0{4}d} {{braces}} {revision=}" "tail" rf"\\d{revision}" f"" f"{revision:}" "" f"{'a'}b"
words = ["naïve", "日本", "\\N{BULLET}", "tab\\t", \'single "double"\']
def upgrade(first, /, second=(), *args: int, key: int | None = -1, **kwargs: str) -> None:
    """Say what it does.

        Indented more.
    """
    global counted
    async def inner():
        async with first as a, second: yield await a
    match second:
        case {"x": [1, *rest], **others} if rest: return
        case Point(x=0) | None: pass
        case _ as found: del found
    try:
        values = [x := y for y in range(10) if y % 2 if y > 3]
    except* (ValueError, TypeError) as group: raise group from None
    else: assert values, "none"
    finally: counted = {*values} | {k: v for k, v in sizes.items()}.keys()
    with (operations.batch_alter_table("t") as batch, open("f") as file): batch.add(lambda a, *b: a[1:2, ::3] if not b else ~a)
    for _ in (1,):
        while 1 < 2 <= 3 not in [] is not None: break
        else: continue
class Thing(Base, metaclass=Meta):
    "A docstring too."
    field: int = 3
    @property
    def value(self): return self.__dict__
'''


def test_what_is_written_is_read() -> None:
    """`read` gives back what `render` was given."""
    entries = (FIRST, SECOND)
    text = manifest.render(entries, PROJECT.versions)
    assert manifest.Manifest(entries, text.split()[-1]).heads == ("0002_b",)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A manifest of two lines."""
    place = tmp_path / "manifest.txt"
    place.write_text(manifest.render((FIRST, SECOND), PROJECT.versions))
    return place


def test_it_is_believed_as_it_was_written(file: Path) -> None:
    """Every line comes back; with the line ends of Windows too, which git may have put there."""
    found = manifest.read(file)
    assert found is not None
    assert found.entries == (FIRST, SECOND)
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert manifest.read(file) == found


def test_what_was_cut_short_anywhere_is_not_believed(file: Path) -> None:
    """However many bytes are missing at the end, but for its last word, the rest is not taken for a manifest."""
    whole = file.read_bytes()
    for length in range(len(whole) - 17):
        file.write_bytes(whole[:length])
        assert manifest.read(file) is None, length


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("c2", "c3"),
        lambda text: text.replace("0002_b.py 0002_b 0001_a", "0002_b.py 0002_b -"),
        lambda text: text + "0003_c.py 0003_c 0002_b c3 - - -\n",
        lambda text: text.replace("0001_a.py", "<<<<<<< HEAD\n0001_a.py").replace(
            "# sealed", "=======\n>>>>>>> other\n# sealed"
        ),
        lambda text: text.replace("# sealed", "#sealed"),
        lambda _: "",
        lambda _: "\n",
        lambda _: "\x00" * 100,
        lambda text: text + text,
    ],
    ids=["checksum", "parent", "line", "conflict", "no seal", "empty", "blank", "zeros", "twice"],
)
def test_what_only_seal_could_have_written_is_believed(file: Path, spoil: Callable[[str], str]) -> None:
    """A change by anything else leaves a file that is not believed."""
    file.write_text(spoil(file.read_text()))
    assert manifest.read(file) is None


def test_a_file_that_is_no_text_or_no_file(tmp_path: Path) -> None:
    """Neither bytes that are no UTF-8, nor a folder, nor nothing at all is an error."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    assert [manifest.read(tmp_path / name) for name in ("bytes", "", "absent")] == [None, None, None]


def _truncate(tree: Workshop, text: str) -> str:
    del tree
    return text[:-20]


def _in_conflict(tree: Workshop, text: str) -> str:
    del tree
    return text.replace("0002_", "<<<<<<< HEAD\n0002_", 1) + ">>>>>>> other\n"


def _older(tree: Workshop, text: str) -> str:
    del text
    return manifest.render([_entry(tree, "0001_baseline", "-")], tree.versions)


def _lying(tree: Workshop, text: str) -> str:
    """With a true seal, and a head that the files do not give."""
    del text
    swapped = _entry(tree, "0001_baseline", HEAD), _entry(tree, HEAD, "-")
    return manifest.render(swapped, tree.versions)


def _renamed(tree: Workshop, text: str) -> str:
    """With a true seal, and another name for the head."""
    del text
    first, second = _entry(tree, "0001_baseline", "-"), _entry(tree, HEAD, "0001_baseline")
    return manifest.render([first, second._replace(revision="0002_other")], tree.versions)


def _missing(tree: Workshop, text: str) -> None:
    del tree, text


def _entry(tree: Workshop, revision: str, parent: str) -> SealedRevision:
    checksum = checksum_of(tree.versions / f"{revision}.py")
    assert checksum
    return SealedRevision(f"{revision}.py", revision, parent, checksum)


@pytest.mark.parametrize("spoil", [_truncate, _in_conflict, _older, _lying, _renamed, _missing])
def test_a_manifest_that_is_wrong_costs_only_time(
    workshop: Workshop, database: Dsn, spoil: Callable[[Workshop, str], str | None]
) -> None:
    """Stale, cut, in conflict, lying or gone: the pending revision is found and applied, and head is known for head."""
    place = workshop.root / "migrations" / "manifest.txt"
    text = spoil(workshop, place.read_text())
    place.write_text(text) if text is not None else place.unlink()
    workshop.migrate("upgrade", "0001")
    assert workshop.migrate("status", "--exit-code").returncode == 1
    assert workshop.migrate().returncode == 0
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert workshop.migrate("status", "--exit-code").returncode == 0
    assert workshop.migrate().stdout == f"upgrade: nothing to do, the database is at {HEAD}\n"


@pytest.mark.parametrize(
    ("says", "believed"),
    [
        ("down_revision = '0001_first'", True),
        ("down_revision: str | None = '0001_first'", True),
        ("down_revision = ('0001_first',)", True),
        ("revision, down_revision = '0002_head', '0001_first'", True),
        ("[revision, *rest], down_revision = ['0002_head', 1], '0001_first'", False),
        ("BEFORE = '0001_first'\ndown_revision: str = BEFORE", True),
        ("NAMES = '0002_head', ('0001_first',)\nrevision, down_revision = NAMES", True),
        ("down_revision = parent = '0001_first'", True),
        ("down_revision: str\ndown_revision = '0001_first'", True),
        ("down_revision = ['0001_first', '0001_other']", False),
        ("down_revision = '0001_first'\nif revision:\n    down_revision = None", False),
        ("down_revision = '0001_first'\nfrom os.path import *", False),
        ("import os\ndown_revision = os.environ.get('PARENT', '0001_first')", False),
        ("down_revision = None", False),
        ("down_revision = '0001_' + 'first'", False),
        ("", False),
    ],
)
def test_a_head_is_believed_when_its_file_says_so(tmp_path: Path, says: str, believed: bool) -> None:
    """A head whose file does not plainly give itself the sealed name and parents takes the longer way."""
    texts = {
        "0001_first": "revision = '0001_first'\ndown_revision = None",
        "0002_head": f"revision = '0002_head'\n{says}",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    entries = [
        SealedRevision(f"{name}.py", name, parent, checksum_of_source(texts[name]))
        for name, parent in (("0001_first", "-"), ("0002_head", "0001_first"))
    ]
    (tmp_path / "manifest.txt").write_text(manifest.render(entries, tmp_path))
    head = glance.heads_of(tmp_path / "manifest.txt", tmp_path)
    assert (head == (("0002_head",), frozenset())) == believed


def test_a_file_that_the_manifest_does_not_list_is_applied(at_head: Workshop, database: Dsn) -> None:
    """A new revision is found though nobody sealed it, and a run in development says how to."""
    at_head.write("0003_new", "op.execute('CREATE TABLE new ()')", after=HEAD)
    assert at_head.migrate("status", "--exit-code").returncode == 1
    assert at_head.migrate().returncode == 0
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0003_new",)]


def test_a_head_that_means_something_else_is_looked_at_closely(at_head: Workshop) -> None:
    """A file that was given another id keeps its name and its place in the manifest; it is pending all the same."""
    place = at_head.versions / f"{HEAD}.py"
    place.write_text(place.read_text().replace(f'revision = "{HEAD}"', 'revision = "0002_renamed"'))
    ended = at_head.migrate()
    assert (ended.returncode, "[unknown-version]" in ended.stderr) == (3, True)


def test_a_file_that_is_gone_is_missed(at_head: Workshop) -> None:
    """When the head's file is not there, the start does not take the manifest's word for it."""
    (at_head.versions / f"{HEAD}.py").unlink()
    assert at_head.migrate("status", "--exit-code").returncode == 1


def test_formatting_does_not_change_a_checksum() -> None:
    """Comments, line breaks, quotes, blank lines and docstrings are free."""
    plain = 'x = ["a", 1]\ndef f(a, b):\n    return a + b\n'
    other = (
        '"""New."""\n# a remark\nx = [\n    \'a\',\n    0x1,  # one\n]\n\n\n'
        'def f(\n    a,\n    b,\n):\n    """Add."""\n    return (a + b)\n'
    )
    assert checksum_of_source(plain) == checksum_of_source(other)
    assert checksum_of_source(plain.replace("\n", "\r\n")) == checksum_of_source(plain)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = True"),
        ("x = 1", "x = 1.0"),
        ("x = 'a'", "x = b'a'"),
        ("x = 'a'", "x = 'a '"),
        ("x = 0.0", "x = -0.0"),
        ("x = None", "x = ..."),
        ("f(a, b)", "f(b, a)"),
        ("f(a, b)", "f((a, b))"),
        ("f(a=1)", "f(b=1)"),
        ("f(*a)", "f(a)"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a}'", "x = '{a}'"),
        ("x = y", "x = 'y'"),
        ("x = y[1:]", "x = y[:1]"),
        ("def f(a, b=1): pass", "def f(a=1, b=1): pass"),
        ("def f(a, *, b): pass", "def f(a, b): pass"),
        ("def f(a): pass", "async def f(a): pass"),
        ("def f(): return", "def f(): return 0"),
        ("a < b < c", "a < b and b < c"),
        ("if a:\n    b\nc", "if a:\n    b\n    c"),
        ("upgrade = 1\ndowngrade = 2", "downgrade = 1\nupgrade = 2"),
        ("'a'; x = 1", "'a'; 'b'; x = 1"),
        ("import a.b", "import a.b as a"),
        ("from . import a", "from .. import a"),
        ("lambda: x", "lambda x: x"),
        ("try:\n    a\nexcept* B:\n    c", "try:\n    a\nexcept B:\n    c"),
    ],
)
def test_meaning_changes_a_checksum(one: str, other: str) -> None:
    """Whatever makes a revision do something else gives it another checksum."""
    assert checksum_of_source(one) != checksum_of_source(other)


def pythons() -> list[str]:
    """Return every Python from 3.11 that can be found here, this one first."""
    names = [f"python3.{minor}" for minor in range(11, 16)]
    versions = Path.home() / ".pyenv" / "versions"
    found = [str(place) for name in names for place in versions.glob(f"*/bin/{name}")]
    found += [place for place in map(shutil.which, names) if place and "/shims/" not in place]
    return [sys.executable, *found]


def test_a_checksum_is_the_same_on_every_python(tmp_path: Path) -> None:
    """The digest of a module with much of the language in it does not depend on the Python that reads it."""
    place = tmp_path / "rich.py"
    place.write_text(RICH, encoding="utf-8")
    files = [
        place,
        *sorted((ROOT / "railhead").rglob("*.py")),
        *sorted((ROOT / "migrations" / "versions").glob("*.py")),
    ]
    code = (
        "import sys; from pathlib import Path; from railhead.history.checksum import checksum_of;"
        " print(*[checksum_of(Path(name)) for name in sys.argv[1:]])"
    )
    digests = {
        subprocess.run(
            [python, "-c", code, *map(str, files)],
            cwd=ROOT,
            env=environment(PYTHONDONTWRITEBYTECODE="1"),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for python in pythons()
    }
    assert len(digests) == 1
    assert "None" not in digests.pop()
