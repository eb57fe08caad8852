"""Several replicas of several workers each: whoever answers, it is one application."""

from __future__ import annotations

import signal

import pytest

from tests.ground import Tree
from tests.web.replica import Replica

PASSWORD = "correct horse battery staple"


@pytest.fixture
def variables() -> dict[str, str]:
    """What all replicas of one deploy share; each has several workers, and who answers is left to chance."""
    return {"ADMIN_PASSWORD": PASSWORD, "SECRET_KEY": "k" * 32, "WEB_CONCURRENCY": "4"}


def test_sign_in_holds_on_every_replica_and_after_a_restart(project: Tree, variables: dict[str, str]) -> None:
    """A cookie and a token from one worker are good for every other, and after a restart."""
    cookies: dict[str, str] = {}
    first = Replica(project, cookies, **variables)
    assert first.sign_in(PASSWORD).status == 303
    token = first.get("/projects").form(sends="name").fields["csrf_token"]
    assert [first.post("/projects", csrf_token=token, name=f"Quay {number}").status for number in range(12)] == [
        303
    ] * 12
    first.process.send(signal.SIGTERM)
    assert first.process.wait() == 0
    second = Replica(project, cookies, **variables)
    assert [second.post("/projects", csrf_token=token, name=f"Pier {number}").status for number in range(12)] == [
        303
    ] * 12
    assert "Pier 11" in second.get("/projects").text


def test_limit_on_wrong_passwords_is_one_for_all_replicas(project: Tree, variables: dict[str, str]) -> None:
    """Guessing at one worker is counted at every other, on another replica too, and after a restart."""
    first, second = Replica(project, {}, **variables), Replica(project, {}, **variables)
    tries = [replica.sign_in("guess").status for replica in (first, second, first, second, first)]
    assert tries == [403] * 5
    assert second.sign_in("guess").status == 429
    first.process.send(signal.SIGTERM)
    assert first.process.wait() == 0
    third = Replica(project, {}, **variables)
    again = third.sign_in("guess").status
    if again == 403:  # starting took longer than the wait, which is doubled now
        again = second.sign_in("guess").status
    assert again == 429
