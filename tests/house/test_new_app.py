"""Whoever changes what `make new-app` works on hears at once that it still fits; tests/chaos/test_new_app.py runs it."""

from __future__ import annotations

import ast

import pytest

from tests.project_tree import ROOT
from utils.new_app import __main__ as new_app


def test_every_edit_still_fits() -> None:
    """Each file that stays can be edited, and speaks of the new application afterwards."""
    edited = new_app.edits_for("corner shop")
    factory = ast.parse(edited["app/__init__.py"])
    named = {node.id for node in ast.walk(factory) if isinstance(node, ast.Name)}
    assert not {*new_app.NOUNS, "SAMPLE"} & named
    assert "home" in named
    assert "Corner Shop" in edited["app/templates/base.html"]
    assert "new-app" not in edited["Makefile"]
    assert "chaos" not in edited["Makefile"]
    assert 'name = "corner-shop"' in edited["pyproject.toml"]
    assert "corner_shop" in edited[".env.example"]
    assert "ailhead" not in edited[".env.example"] + edited["Makefile"]
    assert "Railhead" not in edited["app/templates/base.html"]
    assert "board" not in edited["gunicorn.conf.py"] + edited["app/errors.py"] + edited["app/sign_in.py"]


def test_all_of_the_sample_goes() -> None:
    """What is named is there, and of the sample's modules and pages none is forgotten."""
    assert [name for name in new_app.GOING if not (ROOT / name).exists() and name != "migrations/sql"] == []
    kept = {"base", "error", "macros", "sign_in"}
    templates = {path.stem for path in (ROOT / "app" / "templates").glob("*.html")}
    assert {name for name in templates if not name.startswith("schema")} == {*new_app.PAGES, *kept}


@pytest.mark.parametrize(
    ("name", "title", "slug"),
    [("shop", "Shop", "shop"), ("my-shop", "My Shop", "my_shop"), ("CRM 2", "CRM 2", "crm_2")],
)
def test_a_name_is_read_by_people_and_programs(name: str, title: str, slug: str) -> None:
    """One name is given; a page's title and a database are called after it, each in its way."""
    assert (new_app.title_of(name), new_app.slug_of(name, "_")) == (title, slug)
