from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.sign_in import FREE_TRIES, LONGEST_WAIT
from models import Project, SignInAttempt
from railhead.settings import Secret
from tests.web.conftest import PASSWORD
from tests.web.visitor import Page, Visitor


def sign_in(visitor: Visitor, password: str, address: str = "/sign-in") -> Page:
    """Type a password."""
    return visitor.send(visitor.open(address).form(sends="password"), password=password)


def test_owner_signs_in_and_comes_back_to_where_she_was(locked: Flask) -> None:
    """The right password opens what was asked for before it."""
    visitor = Visitor(locked.test_client())
    page = visitor.open("/tasks/new?status=done")
    assert page.title.startswith("Sign in")
    page = visitor.send(page.form(sends="password"), password=PASSWORD)
    assert page.address == "/tasks/new?status=done"


def test_sign_out_ends_it(locked: Flask) -> None:
    """After signing out, writing asks for the password again."""
    visitor = Visitor(locked.test_client())
    page = sign_in(visitor, PASSWORD)
    visitor.send(page.form(sends="csrf_token"))
    assert visitor.open("/tasks/new").title.startswith("Sign in")


def test_cookie_is_for_this_site_only(locked: Flask) -> None:
    """The session cookie is Secure, HttpOnly and SameSite in production."""
    cookie = locked.test_client().get("/sign-in").headers["Set-Cookie"]
    assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))


def test_visitor_reads_and_does_not_write(locked: Flask, session: Session) -> None:
    """Without signing in the board can be looked at, and nothing offers to change it."""
    session.add(Project(name="Harbour"))
    session.commit()
    visitor = Visitor(locked.test_client())
    page = visitor.open("/projects")
    assert "Harbour" in page.text
    assert not {"Edit", "Delete…"} & page.links.keys()
    assert not [form for form in page.forms if "name" in form.fields]
    assert "New task" not in visitor.open("/").links


@pytest.mark.parametrize(
    "path", ["/projects", "/members", "/tasks/new", "/tasks/1/move", "/tasks/1/delete", "/tasks/1"]
)
def test_writing_by_hand_is_refused_too(locked: Flask, path: str) -> None:
    """A visitor who sends a form of her own, token included, is led to the sign-in."""
    visitor = Visitor(locked.test_client())
    token = visitor.open("/sign-in").form(sends="csrf_token").fields["csrf_token"]
    response = visitor.client.post(path, data={"csrf_token": token, "name": "x"})
    assert response.status_code in {303, 404}
    assert response.headers.get("Location", "/sign-in").startswith("/sign-in")


def test_production_without_a_password_is_read_only(make_app: Callable[..., Flask]) -> None:
    """Nobody can sign in where no password is set, and the page says that it is read-only."""
    visitor = Visitor(make_app(production=True).test_client())
    assert "Read-only" in visitor.open("/").text
    assert visitor.open("/tasks/new").status == 403
    assert visitor.open("/sign-in").status == 404


def test_development_without_a_password_is_open_and_says_so(visitor: Visitor) -> None:
    """Whoever sees the board may change it, and is told why."""
    page = visitor.open("/")
    assert "no ADMIN_PASSWORD is set, so whoever reaches this page may change it" in page.text


def test_wrong_password_is_not_the_password(locked: Flask) -> None:
    """A wrong password is answered on the form, with 403."""
    page = sign_in(Visitor(locked.test_client()), "guess")
    assert (page.status, "That is not the password." in page.text) == (403, True)


def test_wrong_passwords_slow_down(locked: Flask, session: Session) -> None:
    """After five wrong passwords even the right one has to wait, and is told for how long."""
    visitor = Visitor(locked.test_client())
    for _ in range(FREE_TRIES):
        assert sign_in(visitor, "guess").status == 403
    page = sign_in(visitor, PASSWORD)
    assert page.status == 429
    assert page.headers["Retry-After"] == "1"
    assert "Too many tries Wait 1 s before the next one." in page.text
    assert session.scalars(select(SignInAttempt.failures)).one() == FREE_TRIES


def test_wait_grows_to_a_minute_and_no_further(locked: Flask, session: Session) -> None:
    """Trying for hours makes nobody wait for more than a minute."""
    visitor = Visitor(locked.test_client())
    sign_in(visitor, "guess")
    session.execute(update(SignInAttempt).values(failures=10_000))
    session.commit()
    assert sign_in(visitor, "guess").status == 403
    assert int(sign_in(visitor, PASSWORD).headers["Retry-After"]) in {LONGEST_WAIT - 1, LONGEST_WAIT}


def test_owner_gets_in_once_the_wait_is_over(locked: Flask, session: Session) -> None:
    """Nobody is locked out: after the wait the right password works, and clears the count."""
    visitor = Visitor(locked.test_client())
    for _ in range(FREE_TRIES):
        sign_in(visitor, "guess")
    session.execute(update(SignInAttempt).values(next_at=func.clock_timestamp()))
    session.commit()
    assert sign_in(visitor, PASSWORD).address.startswith("/")
    assert session.scalar(select(func.count(SignInAttempt.address))) == 0


def test_one_address_does_not_slow_another(locked: Flask) -> None:
    """Somebody guessing elsewhere costs the owner nothing."""
    attacker, owner = Visitor(locked.test_client()), Visitor(locked.test_client())
    attacker.client.environ_base["HTTP_X_FORWARDED_FOR"] = "203.0.113.7"
    owner.client.environ_base["HTTP_X_FORWARDED_FOR"] = "198.51.100.4"
    for _ in range(FREE_TRIES + 1):
        sign_in(attacker, "guess")
    assert sign_in(owner, PASSWORD).status == 200


def test_owner_is_not_kept_waiting_by_who_guesses_from_her_address(locked: Flask, session: Session) -> None:
    """A browser that has signed in before is counted by itself, whatever comes from its address."""
    owner, attacker = Visitor(locked.test_client()), Visitor(locked.test_client())
    page = sign_in(owner, PASSWORD)
    owner.send(page.form(sends="csrf_token"))
    for _ in range(FREE_TRIES + 1):
        page = sign_in(attacker, "guess")
    assert page.status == 429
    assert sign_in(owner, PASSWORD).status == 200
    assert session.scalars(select(SignInAttempt.failures)).all() == [FREE_TRIES]
    owner.client.delete_cookie("session")
    for _ in range(FREE_TRIES + 1):
        page = sign_in(owner, "guess")
    assert page.status == 429, "known or not, a browser has five tries"


def test_browser_is_known_by_the_password_of_its_day(
    make_app: Callable[..., Flask], locked: Flask, session: Session
) -> None:
    """The cookie that makes a browser known goes to the sign-in alone, and is void once the password is another."""
    visitor = Visitor(locked.test_client())
    sign_in(visitor, PASSWORD)
    cookie = visitor.client.get_cookie("browser", path="/sign-in")
    assert cookie is not None
    assert (cookie.secure, cookie.http_only, cookie.same_site) == (True, True, "Lax")
    sign_in(Visitor(locked.test_client()), "guess")
    session.execute(update(SignInAttempt).values(next_at=func.clock_timestamp() + timedelta(seconds=50)))
    session.commit()
    changed = make_app(production=True, admin_password=Secret("another"), secret_key=Secret("k" * 32))
    for app, value in [(changed, cookie.value), (locked, cookie.value[:-1] + "?"), (locked, "a" * 16), (locked, "")]:
        stranger = Visitor(app.test_client())
        stranger.client.set_cookie("browser", value, path="/sign-in")
        assert sign_in(stranger, "guess").status == 429, "counted by its address"
    visitor.client.delete_cookie("session")
    assert sign_in(visitor, "guess").status == 403, "counted by itself"


def test_wait_that_a_clock_set_back_makes_longer_is_over(locked: Flask, session: Session) -> None:
    """Who would have to wait for an hour, after a failover to a server whose clock is behind, need not wait at all."""
    visitor = Visitor(locked.test_client())
    for _ in range(FREE_TRIES):
        sign_in(visitor, "guess")
    session.execute(update(SignInAttempt).values(next_at=func.clock_timestamp() + timedelta(hours=1)))
    session.commit()
    assert sign_in(visitor, PASSWORD).status == 200


@pytest.mark.parametrize(
    ("forwarded", "counted"),
    [
        ("203.0.113.7:4{}", "203.0.113.7"),
        ("[2001:db8:1:2::1]:4{}", "2001:db8:1:2::"),
        ("[2001:db8:1:2::{}]", "2001:db8:1:2::"),
    ],
)
def test_port_of_a_connection_makes_nobody_new(locked: Flask, session: Session, forwarded: str, counted: str) -> None:
    """Behind a proxy that forwards the client's port as well, tries are counted by the address alone."""
    visitor = Visitor(locked.test_client())
    for number in range(2):
        visitor.client.environ_base["HTTP_X_FORWARDED_FOR"] = forwarded.format(number)
        sign_in(visitor, "guess")
    assert session.execute(select(SignInAttempt.address, SignInAttempt.failures)).all() == [(counted, 2)]


def test_forwarded_address_of_a_stranger_is_not_believed(locked: Flask, session: Session) -> None:
    """Who comes straight from the internet cannot pretend to be somebody new each time."""
    visitor = Visitor(locked.test_client())
    visitor.client.environ_base["REMOTE_ADDR"] = "8.8.8.8"
    for number in range(2):
        visitor.client.environ_base["HTTP_X_FORWARDED_FOR"] = f"203.0.113.{number}"
        sign_in(visitor, "guess")
    assert session.execute(select(SignInAttempt.address, SignInAttempt.failures)).all() == [("8.8.8.8", 2)]


def test_one_customer_of_an_ipv6_network_is_one(locked: Flask, session: Session) -> None:
    """Addresses within one /64 are counted together: each customer has billions of them."""
    visitor = Visitor(locked.test_client())
    for number in range(2):
        visitor.client.environ_base["HTTP_X_FORWARDED_FOR"] = f"2001:db8:1:2::{number}"
        sign_in(visitor, "guess")
    assert session.execute(select(SignInAttempt.address, SignInAttempt.failures)).all() == [("2001:db8:1:2::", 2)]


def test_mistakes_of_yesterday_are_forgotten(locked: Flask, session: Session) -> None:
    """After a quarter of an hour without a try counting starts anew."""
    visitor = Visitor(locked.test_client())
    sign_in(visitor, "guess")
    session.execute(update(SignInAttempt).values(failures=50, next_at=func.clock_timestamp() - timedelta(minutes=16)))
    session.commit()
    sign_in(visitor, "guess")
    session.expire_all()
    assert session.scalars(select(SignInAttempt.failures)).one() == 1


def test_new_password_signs_everybody_out(make_app: Callable[..., Flask], locked: Flask) -> None:
    """A cookie proves the password of its day only."""
    visitor = Visitor(locked.test_client())
    sign_in(visitor, PASSWORD)
    cookie = visitor.client.get_cookie("session")
    assert cookie is not None
    changed = make_app(production=True, admin_password=Secret("another"), secret_key=Secret("k" * 32)).test_client()
    changed.set_cookie("session", cookie.value)
    assert changed.get("/tasks/new").status_code == 303


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)"]
)
def test_sign_in_leads_nowhere_else(locked: Flask, target: str) -> None:
    """Where to go after signing in is a path on this site, or the board."""
    visitor = Visitor(locked.test_client())
    form = visitor.open("/sign-in").form(sends="password")
    sent = form.fields | {"password": PASSWORD}
    response = visitor.client.post("/sign-in", query_string={"next": target}, data=sent)
    assert (response.status_code, response.headers["Location"]) == (303, "/")
