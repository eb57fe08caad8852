"""How does the sample make room for an application of one's own? `python -m utils.new_app NAME`, or `make new-app NAME=shop`.

Takes the sample's models, pages, migrations and tests away, and what is about the engine alone; writes a first model, a first page and a
first revision in their place, under the given name; seals; and takes itself away. Asks first, and works on a clean git tree only, so that
git has all that goes. Touches no database but the one of development in `.data/`, which it empties.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from railhead.devserver.server import DATABASE
from railhead.project import Project
from railhead.settings import load

ROOT = Path(__file__).resolve().parents[2]
FILES = Path(__file__).with_name("files")

NOUNS = ("board", "board_forms", "members", "projects", "tasks")
"""The sample's modules in app/."""

PAGES = ("board", "delete", "member_form", "members", "project_form", "projects", "task", "task_form")
"""The sample's templates."""

KEPT_TESTS = ("test_history.py",)

GOING = (
    *(f"app/{noun}.py" for noun in NOUNS),
    *(f"app/templates/{page}.html" for page in PAGES),
    "models.py",
    "migrations/versions",
    "migrations/sql",
    "migrations/manifest.txt",
    ".ci",
    "benchmarks",
    "CHANGELOG.md",
    "docs/architecture.md",
    "docs/benchmarks.md",
    "docs/benchmarks.svg",
    "docs/web.md",
    "requirements-browser.txt",
    "utils/new_app",
)
"""The sample, and what is about the engine and its own development."""

NOT_TARGETS = ("chaos", "bench", "new-app", "$(BROWSER)")
NOT_SECTIONS = ("build-system", "project", "tool.flit", "tool.importlinter")


def main(arguments: list[str]) -> int:
    """Replace the sample, and return 0; 1 when it was not wanted, 2 when it cannot be, 3 when the new migrations cannot be sealed."""
    parser = argparse.ArgumentParser(
        prog="make new-app NAME=...", description="Put an application of your own in the place of the sample."
    )
    parser.add_argument("name", help="such as shop, or 'Corner Shop'")
    parser.add_argument("--yes", action="store_true", help="do not ask (make new-app NAME=shop YES=1)")
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9 _-]{0,39}", options.name):
        return refuse(
            f"{options.name!r} is no name for an application: letters, digits, blanks, - and _, a letter first"
        )
    if changed := uncommitted():
        return refuse(f"this takes files away, and git does not have all of them; commit or stash first:\n{changed}")
    if not options.yes and not agreed(options.name):
        print("nothing is changed")
        return 1
    replace(options.name)
    return finish(options.name)


def refuse(reason: str) -> int:
    """Say why nothing is done."""
    print(f"new-app: {reason}", file=sys.stderr)
    return 2


def uncommitted() -> str:
    """Return what git would not give back; nothing where there is no git, and nobody expects it to."""
    git = shutil.which("git")
    if git is None:
        return ""
    asked = subprocess.run([git, "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.rstrip()


def agreed(name: str) -> bool:
    """Show what goes, and ask."""
    print(f"{title_of(name)} takes the place of the sample application. These go:")
    for going in going_here():
        print(f"  {going.relative_to(ROOT)}")
    if (ROOT / ".data").exists():
        print("  what is in the database of development in .data/")
    try:
        return input("Go on? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def going_here() -> list[Path]:
    """Return what goes, of what there is."""
    tests = [place for place in sorted((ROOT / "tests").iterdir()) if place.name not in KEPT_TESTS]
    return [place for place in (*(ROOT / name for name in GOING), *tests) if place.exists()]


def title_of(name: str) -> str:
    """Return the name as people read it: `shop` is Shop."""
    words = re.sub(r"[_-]+", " ", name).strip()
    return words if words != words.lower() else words.title()


def slug_of(name: str, between: str) -> str:
    """Return the name as programs read it: `Corner Shop` is corner-shop, or corner_shop."""
    return re.sub(r"[ _-]+", between, name.strip().lower())


def replace(name: str) -> None:
    """Take the sample away, write the new application, and give what stays its name."""
    written = {
        path.relative_to(FILES).with_suffix(""): path.read_text(encoding="utf-8") for path in FILES.rglob("*.txt")
    }
    going = going_here()
    edits = edits_for(name)  # read before anything goes
    for place in going:
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()
    for path, text in written.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text.replace("{title}", title_of(name)), encoding="utf-8")
    for file, text in edits.items():
        (ROOT / file).write_text(text, encoding="utf-8")
    (ROOT / "LICENSE").rename(ROOT / "railhead" / "LICENSE")


def edits_for(name: str) -> dict[str, str]:
    """Return the files that stay, as they are to be."""
    title = title_of(name)
    edits: dict[str, Callable[[str], str]] = {
        "app/__init__.py": factory,
        "app/errors.py": without_the_board,
        "app/sign_in.py": without_the_board,
        "gunicorn.conf.py": without_the_board,
        "app/templates/base.html": lambda text: re.sub(r"\bRailhead\b", title, text),
        ".env.example": lambda text: re.sub(r"(5432/|PGDATABASE=)railhead\b", rf"\g<1>{slug_of(name, '_')}", text),
        "Makefile": lambda text: makefile(text.replace("Railhead", title)),
        "pyproject.toml": lambda text: pyproject(text, slug_of(name, "-"), title),
        "docs/migrations.md": guide,
    }
    return {file: edit((ROOT / file).read_text(encoding="utf-8")) for file, edit in edits.items()}


def factory(text: str) -> str:
    """Return app/__init__.py with the first page where the sample's are."""
    text = swapped(
        r"^SAMPLE = .*\n\"\"\".*\"\"\"\n", 'NOUNS = (home,)\n"""What there are pages of, one blueprint each."""\n', text
    )
    text = swapped(r"^PAGES = .*\n", 'PAGES = (("home.index", "Notes"),)\n', text)
    text = text.replace("*SAMPLE", "*NOUNS").replace(
        "the longest honest form is a task with a description of 10,000 characters, of up to 12 bytes each on their way here.",
        "more than any honest form.",
    )
    imported = re.search(r"^from app import (.+)$", text, re.MULTILINE)
    assert imported
    names = sorted({"home", *(name for name in re.split(r", *", imported[1]) if name not in NOUNS)})
    return text.replace(imported[0], f"from app import {', '.join(names)}")


def without_the_board(text: str) -> str:
    """Return a text that speaks of the application in general."""
    return text.replace("the board", "the application").replace("This board", "This application")


def makefile(text: str) -> str:
    """Return the Makefile without the targets that are about the engine."""
    for target in NOT_TARGETS:
        word = re.escape(target)
        text = re.sub(rf'^\t@echo "make {word}\b.*\n', "", text, flags=re.MULTILINE)
        text = re.sub(rf"^{word}:.*\n(?:\t.*\n)+\n?", "", text, flags=re.MULTILINE)
        text = re.sub(rf"^(\.PHONY: help .*) {word}\b", r"\1", text, flags=re.MULTILINE)
    text = swapped(r"^BROWSER := .*\n", "", text)
    return swapped(r"^(test:.*\n\t@\$\(PYTHON\) -m pytest).*\n", r"\1\n", text).rstrip() + "\n"


def pyproject(text: str, slug: str, title: str) -> str:
    """Return pyproject.toml about the application: no package is built of it, and its tests are its own."""
    sections = re.split(r"^(?=\[)", text, flags=re.MULTILINE)[1:]
    kept = [section for section in sections if not section.lstrip("[").startswith(NOT_SECTIONS)]
    head = f'# {title} is deployed as a folder, with requirements.txt.\n\n[project]\nname = "{slug}"\nversion = "0"\nrequires-python = ">=3.11"\n\n'
    text = head + "".join(kept)
    text = swapped(r'^files = \[.*"models\.py"\]$', 'files = ["railhead", "utils", "app", "models"]', text)
    text = swapped(r"^testpaths = .*$", 'testpaths = ["tests"]', text)
    text = re.sub(r'^"benchmarks/\*\*" = .*\n', "", text, flags=re.MULTILINE)
    return text.rstrip() + "\n"


def guide(text: str) -> str:
    """Return the guide without the chapter that has been followed."""
    text = text.replace(" · [Replacing the sample](#replacing-the-sample)", "").replace("models.py", "models/")
    return swapped(r"^## Replacing the sample\n(?:(?!^## ).*\n)*", "", text)


def swapped(pattern: str, by: str, text: str) -> str:
    """Return the text with the one place that fits replaced."""
    text, count = re.subn(pattern, by, text, count=1, flags=re.MULTILINE)
    assert count, f"nothing fits {pattern}"
    return text


def finish(name: str) -> int:
    """Seal the first revision, and empty the database of development where there is one and no other is named."""
    named = load(Project(root=ROOT)).database is not None
    commands = [["seal"]] if named or not (ROOT / ".data").exists() else [["seal"], ["reset", f"--yes={DATABASE}"]]
    for command in commands:
        ended = subprocess.run([sys.executable, "utils/migrate.py", *command], cwd=ROOT, check=False)
        if ended.returncode:
            print(f"new-app: do this again: python utils/migrate.py {' '.join(command)}", file=sys.stderr)
            return 3
    print(f"{title_of(name)} is here: `make run`, `make test`, `make check`. Then git add --all, and commit.")
    if named:
        print(
            "The database that the settings name is as it was: python utils/migrate.py reset empties one of development."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
