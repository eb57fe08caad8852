"""Who may change the board? Whoever knows ADMIN_PASSWORD; in development without one, everybody.

Wrong passwords are counted in the database, so that the limit holds across workers, replicas and restarts. They make an
address wait, up to a minute, and never shut it out. A browser that has signed in before is counted by itself: who guesses
from the owner's own address, an office's for instance, does not keep her waiting.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import ParamSpec

from flask import Blueprint, Flask, abort, current_app, flash, redirect, render_template, request, url_for
from flask import session as cookie
from flask.typing import ResponseReturnValue
from itsdangerous import BadSignature, Signer
from sqlalchemy import ColumnElement, case, delete, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response

from app import errors
from app.database import session
from app.forms import SignInForm
from app.security import local_path
from models import SignInAttempt
from railhead import Settings

FREE_TRIES = 5
"""Wrong passwords that cost no waiting: people mistype."""

LONGEST_WAIT = 60
"""Seconds. The wait doubles from 1 s with each wrong password; the owner is never further away than this."""

FORGET_AFTER = timedelta(minutes=15)

BROWSER = "browser"
"""The cookie by which we know a browser again. It opens nothing."""

KNOWN_FOR = timedelta(days=365)

_WITH_PORT = re.compile(r"\[(.+)\](?::\d+)?|([\d.]+):\d+")

blueprint = Blueprint("sign_in", __name__)
P = ParamSpec("P")


class Access(enum.StrEnum):
    """What the person at the other end may do, and why."""

    OPEN = "open"
    SIGNED_IN = "signed-in"
    VISITOR = "visitor"
    READ_ONLY = "read-only"

    @property
    def may_write(self) -> bool:
        """Whether the board can be changed."""
        return self in {Access.OPEN, Access.SIGNED_IN}


def init_app(app: Flask) -> None:
    """Tell the templates who is looking."""

    @app.context_processor
    def who() -> dict[str, object]:
        return {
            "access": access(),
            "may_write": access().may_write,
            "has_console": access() is not Access.READ_ONLY,
        }


def access() -> Access:
    """Return what this request may do. Asks the settings and the cookie, not the database."""
    settings: Settings = current_app.config["SETTINGS"]
    if settings.admin_password is None:
        return Access.READ_ONLY if settings.production else Access.OPEN
    proof = cookie.get("proof")
    signed_in = isinstance(proof, str) and hmac.compare_digest(proof, _proof(settings.admin_password))
    return Access.SIGNED_IN if signed_in else Access.VISITOR


def sees_console() -> bool | ResponseReturnValue:
    """Tell whether this request may see the schema console: whoever may write. Where nobody can sign in there is none."""
    allowed = access()
    return allowed.may_write if allowed is not Access.VISITOR else _sent_to_sign_in()


def writers_only(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Let `view` answer only those who may change the board; send others to sign in."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        allowed = access()
        if allowed.may_write:
            return view(*args, **kwargs)
        if allowed is Access.READ_ONLY:
            abort(403)
        return _sent_to_sign_in()

    return guarded


def _sent_to_sign_in() -> ResponseReturnValue:
    if errors.wants_json():
        abort(401)
    back = request.full_path if request.method == "GET" else None
    return redirect(url_for("sign_in.sign_in", next=back), 303)


@blueprint.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> ResponseReturnValue:
    """Ask for the password."""
    onward = local_path(request.args.get("next"), url_for(current_app.config["HOME"]))
    if access() is not Access.VISITOR:
        return redirect(onward, 303) if access().may_write else abort(404)
    form = SignInForm()
    if not form.validate_on_submit():
        return render_template("sign_in.html", form=form), 400 if form.errors else 200
    if not _is_right(form.password.data or ""):
        form.password.errors = ["That is not the password."]
        return render_template("sign_in.html", form=form), 403
    flash("You are signed in.")
    return _known_from_now_on(redirect(onward, 303))


@blueprint.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """Forget who this was."""
    cookie.clear()
    flash("You are signed out.")
    return redirect(url_for(current_app.config["HOME"]), 303)


def _is_right(password: str) -> bool:
    """Count the try, then compare. Raises TooManyRequests while this browser, or its address, has to wait."""
    settings: Settings = current_app.config["SETTINGS"]
    address = _address()
    counted = _known_browser() or address
    wait = _wait_before(counted)
    if wait:
        current_app.logger.warning("sign-in from %s has to wait %d s", address, wait)
        raise TooManyRequests(retry_after=wait)
    expected = _proof(settings.admin_password or "")
    if not hmac.compare_digest(_proof(password), expected):
        current_app.logger.warning("sign-in from %s with a wrong password", address)
        return False
    session().execute(delete(SignInAttempt).where(or_(SignInAttempt.address == counted, _is_forgotten())))
    session().commit()
    cookie.clear()
    cookie["proof"] = expected
    cookie.permanent = True
    return True


def _wait_before(address: str) -> int:
    """Count one try, and return the seconds that this address has to wait first; 0 when it may try now.

    Counting comes before comparing, in one statement that locks the row: fifty tries at once are fifty, not one. Who would
    have to wait for longer than anybody is made to, because the server's clock went back, may try now.
    """
    now = func.clock_timestamp()
    over = or_(SignInAttempt.next_at <= now, SignInAttempt.next_at > now + timedelta(seconds=LONGEST_WAIT))
    failures = case((_is_forgotten(), 1), else_=SignInAttempt.failures + 1)
    doublings = func.least(failures - FREE_TRIES, 10)
    seconds = case((failures < FREE_TRIES, 0), else_=func.least(func.power(2, doublings), LONGEST_WAIT))
    first = insert(SignInAttempt).values(address=address, failures=1, next_at=now)
    counted = first.on_conflict_do_update(
        index_elements=[SignInAttempt.address],
        set_={"failures": failures, "next_at": now + seconds * text("interval '1 second'")},
        where=over,
    )
    admitted = session().scalar(counted.returning(SignInAttempt.failures))
    wait = select(func.ceil(func.extract("epoch", SignInAttempt.next_at - now)))
    left = 0 if admitted else session().scalar(wait.where(SignInAttempt.address == address))
    session().commit()
    return 0 if admitted else max(1, int(left or 1))


def _is_forgotten() -> ColumnElement[bool]:
    return SignInAttempt.next_at < func.clock_timestamp() - FORGET_AFTER


def _proof(password: str) -> str:
    """What the cookie holds: worthless without our key, and void as soon as the password or the key changes."""
    key: str = current_app.config["SECRET_KEY"]
    return hmac.new(key.encode(), b"sign-in:" + password.encode(), hashlib.sha256).hexdigest()


def _known_browser() -> str | None:
    """Return what the tries of this browser are counted by, if it has signed in before with the password of today."""
    try:
        return f"browser {_signer().unsign(request.cookies.get(BROWSER, '')).decode()}"
    except BadSignature:
        return None


def _known_from_now_on(response: Response) -> Response:
    settings: Settings = current_app.config["SETTINGS"]
    if not _known_browser():
        response.set_cookie(
            BROWSER,
            _signer().sign(secrets.token_hex(8)).decode(),
            max_age=KNOWN_FOR,
            path=url_for("sign_in.sign_in"),
            secure=settings.production,
            httponly=True,
            samesite="Lax",
        )
    return response


def _signer() -> Signer:
    """With the password goes what it has signed: who knew the old one has no browsers in store to guess the new one with."""
    settings: Settings = current_app.config["SETTINGS"]
    return Signer(_proof(settings.admin_password or ""), salt=BROWSER, digest_method=hashlib.sha256)


def _address() -> str:
    """Return whose tries are counted together: an IPv4 address, or the network of an IPv6 one, which is one customer's."""
    try:
        address = ipaddress.ip_address(_without_port(request.remote_addr or ""))
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)


def _without_port(address: str) -> str:
    """Some proxies write down the port of each connection too: with it everybody would be somebody new each time."""
    found = _WITH_PORT.fullmatch(address)
    return found[1] or found[2] if found else address
