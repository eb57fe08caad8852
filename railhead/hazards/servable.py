"""On which schemas can this release serve while post-deploy work is left? Found out on a scratch database, once, when the history is sealed."""

from __future__ import annotations

from contextlib import closing

from railhead.devserver import scratch
from railhead.dsn import Dsn
from railhead.hazards.replay import Replay
from railhead.history import loader
from railhead.history.graph import History
from railhead.logs import log
from railhead.postgres.connection import connect
from railhead.schema import requirements


def versions(server: Dsn, history: History) -> tuple[str, ...]:
    """Return the versions from which only post-deploy work leads to the head and whose schema has all that the models need, newest first.

    None where the models cannot be imported: then each start takes a closer look. Changes a scratch database only. Raises Failed.
    """
    places = history.settling
    if not places:
        return ()
    try:
        metadata = history.project.models()
    except Exception as error:
        log.warning(
            "the models could not be imported (%s), so a start with post-deploy work left is no quick one", error
        )
        return ()
    servable: list[str] = []
    with scratch.made_on(server) as dsn, Replay(dsn, loader.config(history.project)) as replay:
        replay.begin(history)
        done = history.in_baseline
        with closing(connect(dsn, "railhead replay")) as connection:
            for place in reversed(places):
                wanted = history.ancestors([place]) - done
                replay.up([revision for revision in history.behind_baseline if revision.id in wanted])
                done |= wanted
                if not requirements.unmet(metadata, connection):
                    servable.append(place)
    return tuple(reversed(servable))
