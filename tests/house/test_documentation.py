"""Is what the documents say true?"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from railhead import arguments, cli, errors
from tests.databases import named
from tests.forked_tree import Workshop
from tests.project_tree import MIGRATE, ROOT
from utils import migrate

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "migrations.md").read_text(encoding="utf-8")

COMMAND = re.compile(r"^python utils/migrate\.py (\w+)((?: [\[\]A-Z]+)?) {2,}(.+)$", re.MULTILINE)

RUN = {"downgrade": ["-1", "--yes"], "rebase": ["0002_add_task_due_on"], "adopt": ["0001"], "init": ["--dry-run"]}
"""What stands in the place of REV and REVISION, and of somebody at a terminal."""

ANSWERS = {"rebase": 3, "adopt": 3}
"""Commands that have nothing to do on a database and a history that are in order, and say so."""


def documented() -> list[tuple[str, str]]:
    """Return the commands of the README with what it says about each."""
    return [(name, does) for name, _, does in COMMAND.findall(README)]


STOPS = {"Stop"} | {kind.__name__ for kind in errors.Stop.__subclasses__()}


def slugs() -> Iterator[str]:
    """Yield the slug of each Stop that the code can raise."""
    for file in [*(ROOT / "railhead").rglob("*.py"), *(ROOT / "utils").glob("*.py"), *(ROOT / "app").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in STOPS:
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant):
                    yield str(first.value)


def test_the_readme_lists_the_commands_as_help_does(capsys: pytest.CaptureFixture[str]) -> None:
    """README and --help name the same commands, in the same order, in the same words."""
    with pytest.raises(SystemExit):
        migrate.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    missing = [name for name, does in documented() if f" {name} {does}" not in told]
    assert missing == []
    places = [told.index(f" {name} {does}") for name, does in documented()]
    assert places == sorted(places)
    assert {name for name, _ in documented()} == set(re.findall(r"\{([\w,]+)\}", _usage())[0].split(","))


@pytest.mark.parametrize("name", [name for name, _ in documented()])
def test_each_command_of_the_readme_runs(name: str, workshop: Workshop) -> None:
    """Each line of the README's list of commands can be typed as it stands."""
    workshop.run(*MIGRATE, "upgrade")
    assert workshop.database
    agreed = [named(workshop.database)] if name == "reset" else []
    ended = workshop.run(*MIGRATE, name, *RUN.get(name, agreed))
    assert ended.returncode == ANSWERS.get(name, 0), ended.stderr
    assert "Traceback" not in ended.stderr


def test_each_slug_is_in_the_guide() -> None:
    """Whoever reads a slug at the end of a message finds it in the guide."""
    explained = set(re.findall(r"`([a-z-]+)`", GUIDE))
    assert set(slugs()) - explained == set()


def test_links_between_documents_lead_somewhere() -> None:
    """Each relative link of the documents names a file that is there, and a heading in it."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in _anchors(file), f"{page.name}: {target}"


def _usage() -> str:
    parser = arguments.parser_of(migrate.PROJECT.command, cli.COMMANDS)
    action = next(action for action in parser._actions if action.dest == "command")
    return "{" + ",".join(action.choices or ()) + "}"


def _anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
