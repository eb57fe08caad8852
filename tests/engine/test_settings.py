"""What the environment says, and what it must not say wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy
from psycopg2.extensions import parse_dsn

from railhead.dsn import Dsn, parse_url
from railhead.errors import Stop
from railhead.platforms import PLATFORMS
from railhead.project import Project
from railhead.settings import Settings, load
from railhead.variables import duration
from tests.processes import environment
from tests.project_tree import ROOT

PASSWORD = "p@ss/w%rd:é"
ESCAPED = "p%40ss%2Fw%25rd%3A%C3%A9"
BASIC = {"user": "me", "password": "secret", "host": "db", "port": "5433", "dbname": "app"}


def given(**variables: str) -> Settings:
    """Return the settings of an environment that holds these variables and nothing else."""
    return Settings.from_env(variables)


def database_of(**variables: str) -> dict[str, str]:
    """Return what libpq makes of the database that this environment names."""
    database = given(**variables).database
    assert database is not None
    return {key: str(value) for key, value in parse_dsn(database).items()}


def refusal(**variables: str) -> Stop:
    """Return the Stop that this environment leads to."""
    with pytest.raises(Stop) as caught:
        Settings.from_env(variables)
    return caught.value


def test_nothing_set_is_development_without_a_database() -> None:
    """An empty environment is a development machine, with the defaults that `.env.example` tells."""
    settings = given()
    assert (settings.database, settings.migrate_database, settings.production) == (None, None, False)
    assert (settings.wait_database, settings.wait_lock, settings.lock_timeout) == (60.0, 240.0, 0.9)
    assert (settings.statement_timeout, settings.hazards, settings.large_table) == (0.0, "refuse", 100_000)
    assert (settings.migrate_on_start, settings.dev_create_tables) == ("upgrade", False)
    assert (settings.log_format, settings.log_level, settings.port, settings.web_concurrency) == (
        "text",
        "info",
        8000,
        2,
    )


@pytest.mark.parametrize(
    "scheme",
    ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg", "POSTGRESQL"],
)
def test_every_spelling_of_the_scheme_is_read(scheme: str) -> None:
    """`postgres://`, `postgresql://` and any driver suffix name the same database."""
    assert database_of(DATABASE_URL=f"{scheme}://me:secret@db:5433/app") == BASIC


@pytest.mark.parametrize("written", [PASSWORD, ESCAPED], ids=["as it is", "escaped"])
def test_odd_characters_in_a_password_arrive(written: str) -> None:
    """A password with @ / % : and é reaches libpq as it is, escaped in the URL or not."""
    assert database_of(DATABASE_URL=f"postgresql://me:{written}@db:5433/app") == {**BASIC, "password": PASSWORD}


@pytest.mark.parametrize(
    "password", ["it's", "back\\slash", "a b", 'q"q', "50%", "a+b", "x=y&z", "[]", "#1", "p?x", " "]
)
def test_escaped_passwords_of_any_kind_arrive(password: str) -> None:
    """Percent escapes carry every character, quotes and backslashes too."""
    escaped = "".join(f"%{byte:02X}" for byte in password.encode())
    assert database_of(DATABASE_URL=f"postgres://me:{escaped}@db/app")["password"] == password
    assert database_of(DATABASE_URL=f"postgres://me@db/app?password={escaped}")["password"] == password
    assert database_of(PGHOST="db", PGPASSWORD=password)["password"] == password


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://[::1]:5433/app", {"host": "::1", "port": "5433", "dbname": "app"}),
        ("postgresql://me@[fe80::1%25eth0]/app", {"user": "me", "host": "fe80::1%eth0", "dbname": "app"}),
        ("postgresql:///app", {"dbname": "app"}),
        ("postgresql:///app?host=/var/run/postgresql", {"dbname": "app", "host": "/var/run/postgresql"}),
        ("postgresql://%2Fvar%2Frun%2Fpostgresql/app", {"dbname": "app", "host": "/var/run/postgresql"}),
        ("postgresql://a,b:5433/app", {"host": "a,b", "port": ",5433", "dbname": "app"}),
        ("postgresql://a:1,[::2]:3/app", {"host": "a,::2", "port": "1,3", "dbname": "app"}),
        ("postgresql:///app?host=a:1&host=b:2", {"host": "a,b", "port": "1,2", "dbname": "app"}),
        ("postgresql:///app?host=a,b&port=1,2", {"host": "a,b", "port": "1,2", "dbname": "app"}),
        (
            "postgresql://a,b/app?target_session_attrs=read-write&sslmode=require",
            {"host": "a,b", "dbname": "app", "target_session_attrs": "read-write", "sslmode": "require"},
        ),
        ("postgresql://db/app?ssl=true", {"host": "db", "dbname": "app", "sslmode": "require"}),
        ("postgresql://db/app?options=-c%20geqo%3Doff", {"host": "db", "dbname": "app", "options": "-c geqo=off"}),
        ("postgresql://db/my%20app", {"host": "db", "dbname": "my app"}),
        ("postgresql://db", {"host": "db"}),
    ],
)
def test_hosts_sockets_and_queries_are_read_as_libpq_reads_them(url: str, expected: dict[str, str]) -> None:
    """IPv6, sockets, several hosts, and every parameter that libpq knows."""
    assert database_of(DATABASE_URL=url) == expected
    if "host=a:1&" not in url and "%2F" not in url:  # SQLAlchemy's way, and one that parse_dsn shows otherwise
        assert {key: str(value) for key, value in parse_dsn(url).items() if value != ","} == expected


def test_pg_variables_alone_name_a_database() -> None:
    """PGHOST and its four companions do what DATABASE_URL does."""
    settings = given(PGHOST="db", PGPORT="5433", PGDATABASE="app", PGUSER="me", PGPASSWORD="secret")
    assert settings.database == settings.migrate_database
    assert parse_dsn(settings.database or "") == BASIC
    assert "PGHOST" in settings.database_variable


def test_database_url_comes_before_pg_variables() -> None:
    """What DATABASE_URL says counts, whatever the PG* variables say."""
    others = {"PGHOST": "other", "PGPORT": "1", "PGDATABASE": "other", "PGUSER": "other", "PGPASSWORD": "other"}
    assert database_of(DATABASE_URL="postgresql://me:secret@db:5433/app", **others) == BASIC


def test_what_the_url_leaves_out_is_known() -> None:
    """A remote PGHOST makes `postgresql:///app` remote, as libpq fills the gaps of a URL from the PG* variables."""
    settings = given(DATABASE_URL="postgresql:///app", PGHOST="db.example.org")
    assert settings.production
    assert settings.database is not None
    assert settings.database.redacted() == "postgresql://db.example.org/app"


def test_migrations_have_a_url_of_their_own() -> None:
    """MIGRATE_DATABASE_URL comes first, then DATABASE_UNPOOLED_URL, then what the application uses."""
    urls = {
        "DATABASE_URL": "postgresql://pooler/app",
        "DATABASE_UNPOOLED_URL": "postgresql://direct/app",
        "MIGRATE_DATABASE_URL": "postgresql://owner@direct/app",
    }
    assert given(**urls).migrate_variable == "MIGRATE_DATABASE_URL"
    assert given(**urls).migrate_database == parse_url(urls["MIGRATE_DATABASE_URL"])
    assert given(**urls).database == parse_url(urls["DATABASE_URL"])
    del urls["MIGRATE_DATABASE_URL"]
    assert given(**urls).migrate_database == parse_url(urls["DATABASE_UNPOOLED_URL"])
    del urls["DATABASE_UNPOOLED_URL"]
    assert given(**urls).migrate_database == parse_url(urls["DATABASE_URL"])


@pytest.mark.parametrize(
    ("variables", "production"),
    [
        ({}, False),
        ({"DATABASE_URL": "postgresql:///app"}, False),
        ({"DATABASE_URL": "postgresql://localhost/app"}, False),
        ({"DATABASE_URL": "postgresql://127.0.0.2/app"}, False),
        ({"DATABASE_URL": "postgresql://[::1]/app"}, False),
        ({"DATABASE_URL": "postgresql:///app?host=/tmp"}, False),
        ({"DATABASE_URL": "postgresql:///app?host=/cloudsql/project:region:instance"}, True),
        ({"DATABASE_URL": "postgresql://db/app"}, True),
        ({"DATABASE_URL": "postgresql://localhost,db/app"}, True),
        ({"DATABASE_URL": "postgresql://localhost/app?hostaddr=10.0.0.1"}, True),
        ({"DATABASE_URL": "postgresql://127.0.0.1.example.org/app"}, True),
        ({"MIGRATE_DATABASE_URL": "postgresql://db/app"}, True),
        ({"PGHOST": "db"}, True),
        ({"PGDATABASE": "app"}, False),
        ({"RAILWAY_ENVIRONMENT_NAME": "production"}, True),
        ({"RAILWAY_PROJECT_ID": "1", "DATABASE_URL": "postgresql://localhost/app"}, True),
        ({"RAILWAY_PROJECT_ID": "1", "APP_ENV": "development"}, False),
        ({"APP_ENV": "production"}, True),
        ({"APP_ENV": "Development", "DATABASE_URL": "postgresql://db/app"}, False),
    ],
)
def test_production_is_recognised(variables: dict[str, str], production: bool) -> None:
    """A database elsewhere or a variable of Railway's means production, unless APP_ENV says otherwise."""
    assert given(**variables).production is production


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"DYNO": "web.1"}, "DYNO is set (Heroku, Dokku)"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "APP_ENV": "test"}, "KUBERNETES_SERVICE_HOST is set (Kubernetes)"),
        ({"K_SERVICE": "x", "KUBERNETES_PORT": "tcp://10.0.0.1:443"}, "K_SERVICE is set (Google Cloud Run)"),
        ({"DATABASE_URL": "postgresql://db/app"}, "the database is on another machine (DATABASE_URL)"),
        (
            {"DATABASE_URL": "postgresql:///app", "MIGRATE_DATABASE_URL": "postgresql://db/app"},
            "the database is on another machine (MIGRATE_DATABASE_URL)",
        ),
        ({"APP_ENV": "Production"}, "APP_ENV is Production"),
        ({"APP_ENV": "banana"}, "APP_ENV is banana"),
    ],
)
def test_production_says_why(variables: dict[str, str], why: str) -> None:
    """The settings keep which variable made it production, or that the database did."""
    assert (given(**variables).production, given(**variables).why) == (True, why)


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({}, "no database is named and no platform has set a variable of its own; APP_ENV=production says otherwise"),
        (
            {"PGHOST": "localhost"},
            "the database is on this machine (PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD) and no platform has set a variable of its own; APP_ENV=production says otherwise",
        ),
        ({"APP_ENV": "local"}, "APP_ENV is local"),
        ({"APP_ENV": "dev", "DYNO": "web.1"}, "APP_ENV is dev, although DYNO is set (Heroku, Dokku)"),
    ],
)
def test_development_says_why(variables: dict[str, str], why: str) -> None:
    """So does development, with what would say otherwise, and with what speaks against it."""
    assert (given(**variables).production, given(**variables).why) == (False, why)


@pytest.mark.parametrize("variable", [one for names in PLATFORMS.values() for one in names])
def test_a_platforms_own_variable_means_production(variable: str) -> None:
    """A proxy or pooler beside the application hides that its database is elsewhere; an empty variable says nothing."""
    local = {"DATABASE_URL": "postgresql://me@127.0.0.1:5432/app"}
    assert given(**{variable: "x"}, **local).production
    assert not given(**{variable: " "}, **local).production
    assert not given(**{variable: "x"}, **local, APP_ENV="development").production


@pytest.mark.parametrize(
    ("variables", "production"),
    [
        ({"AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}, True),
        ({"AWS_EXECUTION_ENV": "CloudShell"}, False),
        ({"VERCEL_ENV": "development", "WEBSITE_HOSTNAME": "localhost:7071", "APP_ID": "1", "CONTAINER": "oci"}, False),
        ({"CI": "true", "GITHUB_ACTIONS": "true"}, False),
        ({"CI": "true", "GITLAB_CI": "true", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        ({"CI": "true", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, True),
        ({"HEROKU_TEST_RUN_ID": "1", "DYNO": "test-run.1"}, False),
        ({"GITHUB_ACTIONS": "true", "DATABASE_URL": "postgresql://db/app"}, True),
        ({"FLY_API_TOKEN": "x", "NOMAD_ADDR": "x", "VERCEL_TOKEN": "x", "COOLIFY_TOKEN": "x"}, False),
    ],
)
def test_where_tests_run_is_no_production(variables: dict[str, str], production: bool) -> None:
    """A runner of tests, in a cluster or not, and the tokens of a developer's tools are not where an application is deployed."""
    assert given(**variables).production is production


@pytest.mark.parametrize(
    ("words", "production"),
    [
        (
            "prod PROD live staging stage preview qa uat demo review sandbox pre-prod prod-eu-1 staging2 nonprod non-prod",
            True,
        ),
        ("development dev local localhost develop dev_anna local-docker test testing ci", False),
        ("dev-prod test-live", True),
    ],
)
def test_other_words_for_environments_are_understood(words: str, production: bool) -> None:
    """What is deployed anywhere is treated as production, without a complaint."""
    for word in words.split():
        assert (word, given(APP_ENV=word).production, given(APP_ENV=word).doubts) == (word, production, ())


def test_a_word_that_nobody_understands_is_production() -> None:
    """The careful way: whoever wrote `produktion` must not find the board open."""
    settings = given(APP_ENV="produktion")
    assert settings.production
    assert settings.doubts == (
        "APP_ENV is 'produktion', which is taken for production; write production or development",
    )


@pytest.mark.parametrize(
    ("variable", "value", "field", "meant"),
    [
        ("LOG_LEVEL", "WARN", "log_level", "warning"),
        ("LOG_LEVEL", "20", "log_level", "info"),
        ("LOG_LEVEL", "25", "log_level", "warning"),
        ("LOG_LEVEL", "trace", "log_level", "debug"),
        ("LOG_LEVEL", "FATAL", "log_level", "critical"),
        ("LOG_LEVEL", "'info'", "log_level", "info"),
        ("LOG_FORMAT", "JSON", "log_format", "json"),
        ("LOG_FORMAT", "ndjson", "log_format", "json"),
        ("LOG_FORMAT", "console", "log_format", "text"),
        ("WEB_CONCURRENCY", "auto", "web_concurrency", 2),
        ("WEB_CONCURRENCY", "", "web_concurrency", 2),
        ("WEB_CONCURRENCY", "4.0", "web_concurrency", 4),
        ("PORT", "8080", "port", 8080),
        ("PORT", ":8080", "port", 8080),
        ("PORT", "0.0.0.0:8080", "port", 8080),
        ("PORT", "[::]:8080", "port", 8080),
        ("PORT", "8080/tcp", "port", 8080),
        ("PORT", '"8080"', "port", 8080),
        ("DEV_CREATE_TABLES", "Y", "dev_create_tables", True),
        ("DEV_CREATE_TABLES", "On", "dev_create_tables", True),
        ("DEV_CREATE_TABLES", "enabled", "dev_create_tables", True),
        ("DEV_CREATE_TABLES", "f", "dev_create_tables", False),
        ("DEV_CREATE_TABLES", "None", "dev_create_tables", False),
    ],
)
def test_other_spellings_are_understood(variable: str, value: str, field: str, meant: object) -> None:
    """Where the meaning is plain there is nothing to complain of."""
    settings = given(**{variable: value})
    assert (getattr(settings, field), settings.doubts) == (meant, ())


@pytest.mark.parametrize(
    ("variable", "value", "doubt"),
    [
        (
            "PORT",
            "tcp://10.0.0.1:8000",
            "PORT is 'tcp://10.0.0.1:8000', the link to a service, and its port is taken: 8000",
        ),
        ("PORT", "70000", "PORT is '70000', which says nothing here, so it is 8000; write a port from 1 to 65535"),
        ("PORT", "/run/app.sock", "PORT is '/run/app.sock', which says nothing here, so it is 8000"),
        ("LOG_LEVEL", "loud", "so it is info; write debug, info, warning, error or critical"),
        ("LOG_FORMAT", "logfmt", "so it is text; write json or text"),
        ("WEB_CONCURRENCY", "0", "so it is 2; write a whole number from 1 to 1024, or auto"),
        ("WEB_CONCURRENCY", "many", "so it is 2"),
        ("WEB_CONCURRENCY", "nan", "so it is 2"),
        ("DEV_CREATE_TABLES", "perhaps", "so it is false; write true or false"),
    ],
)
def test_what_cannot_hurt_is_no_reason_to_stop(variable: str, value: str, doubt: str) -> None:
    """A value that says nothing gets a warning, and the default holds."""
    settings = given(**{variable: value})
    assert doubt in settings.doubts[0]
    assert settings._replace(doubts=()) == given()


def test_quotes_that_a_file_has_left_are_no_part_of_a_value() -> None:
    """`docker --env-file` hands on the quotes, and a URL never begins with one; a secret may."""
    assert database_of(DATABASE_URL='"postgresql://me:secret@db:5433/app"') == BASIC
    assert given(ADMIN_PASSWORD="'x'").admin_password == "'x'"


def test_production_logs_json() -> None:
    """Platforms get JSON unless LOG_FORMAT says otherwise."""
    assert given(APP_ENV="production").log_format == "json"
    assert given(APP_ENV="production", LOG_FORMAT="text").log_format == "text"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2.0),
        ("1.5s", 1.5),
        ("5min", 300.0),
        ("2h", 7200.0),
        ("0", 0.0),
        (" 2 s ", 2.0),
        ("2sec", 2.0),
        ("1m", 60.0),
        ("30 Seconds", 30.0),
        ("1h30m", 5400.0),
        ("1 min 30 s", 90.0),
    ],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    """Durations are written with their unit and kept as seconds."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["5", "-1s", "s", "", "1e3s", "9999h", "1.2.3s", "2 fortnights", "1h 30"])
def test_other_durations_are_refused(text: str) -> None:
    """A number without a unit might mean anything; what PostgreSQL cannot count would fail later."""
    with pytest.raises(ValueError, match=f"^{text}$"):
        duration(text)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("MIGRATE_WAIT_LOCK", "4", "is '4'; write a duration such as 500ms, 2s or 5min (default 240s)"),
        ("MIGRATE_LOCK_TIMEOUT", "0", "is '0'; write a duration such as 500ms, 2s or 5min (default 900ms)"),
        ("MIGRATE_HAZARDS", "maybe", "is 'maybe'; write refuse, warn or ignore"),
        ("MIGRATE_ON_START", "no", "is 'no'; write upgrade, check or off"),
        ("MIGRATE_LARGE_TABLE", "many", "is 'many'; write a whole number from 0 to"),
        ("DATABASE_URL", "sqlite:///app.db", "names sqlite, and Railhead speaks PostgreSQL only; write postgresql://"),
        ("DATABASE_URL", "mysql://db/app", "development then gets the embedded PostgreSQL in .data/"),
        ("DATABASE_URL", "localhost:5432/app", "is not a URL; write postgresql://user:password@host:5432/name"),
        ("DATABASE_URL", "postgresql://db:54x32/app", "has a host or port that cannot be read"),
        ("DATABASE_URL", "postgresql://db:99999/app", "has a port that is not a number from 1 to 65535"),
        ("DATABASE_URL", "postgresql://::1/app", "IPv6 addresses go in brackets"),
        ("DATABASE_URL", "postgresql://db/app?pgbouncer=true", "take out pgbouncer (Prisma's)"),
        ("MIGRATE_DATABASE_URL", "oracle://db", "names oracle"),
    ],
)
def test_wrong_value_is_told_with_what_is_right(variable: str, value: str, told: str) -> None:
    """The message names the variable, its value where that is no secret, and an example."""
    stop = refusal(**{variable: value})
    assert stop.facts[0][1].startswith(f"{variable} ")
    assert told in stop.facts[0][1]


def test_all_wrong_values_are_told_at_once() -> None:
    """Whoever mends one mistake is not sent away for the next."""
    stop = refusal(
        MIGRATE_HAZARDS="x", MIGRATE_ON_START="y", DATABASE_URL="sqlite://", MIGRATE_WAIT_LOCK="z", PGPORT="w"
    )
    assert [fact.split()[0] for _, fact in stop.facts] == [
        "DATABASE_URL",
        "MIGRATE_ON_START",
        "MIGRATE_WAIT_LOCK",
        "MIGRATE_HAZARDS",
    ]
    assert stop.headline == "4 settings are wrong"
    assert stop.exit_code == 3


def test_whole_message() -> None:
    """A wrong setting reads as every other failure does."""
    assert refusal(MIGRATE_HAZARDS="x").render() == (
        "start stopped: a setting is wrong\n"
        "\n"
        "  setting    MIGRATE_HAZARDS is 'x'; write refuse, warn or ignore\n"
        "  database   not touched\n"
        "\n"
        "  next       correct the environment (or .env), then start again; .env.example lists every setting  [settings]"
    )


def test_wrong_pg_variable_is_told() -> None:
    """A port that is none is found before anybody connects."""
    assert "has a port that is not a number" in refusal(PGHOST="db", PGPORT="x").facts[0][1]


def test_configuration_of_an_application_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database that the application's configuration names is the one that is migrated; else the environment goes first."""
    url = sqlalchemy.make_url("postgresql+psycopg2://me:s3cret@localhost/shop")
    said = {
        "SQLALCHEMY_DATABASE_URI": url,
        "MIGRATE_WAIT_LOCK": "5s",
        "MIGRATE_HAZARDS": "warn",
        "PORT": "x",
        "FLASK": 1,
    }
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/other")
    monkeypatch.setenv("MIGRATE_HAZARDS", "ignore")
    settings = load(Project(root=tmp_path, configuration=lambda: said))
    assert (settings.application.dsn.name, settings.application.dsn.parameters()["password"]) == ("shop", "s3cret")
    assert settings.migrations.variable == "SQLALCHEMY_DATABASE_URI"
    assert (settings.wait_lock, settings.hazards, settings.doubts) == (5.0, "ignore", ())
    monkeypatch.setenv("MIGRATE_DATABASE_URL", "postgresql://owner@localhost/shop")
    assert load(Project(root=tmp_path, configuration=lambda: said)).migrations.variable == "MIGRATE_DATABASE_URL"


def test_what_an_application_keeps_in_its_environment_refuses_nothing() -> None:
    """Names that are not ours alone may hold anything; none of them stops a migration."""
    others = {"LOG_FORMAT": "%(message)s", "LOG_LEVEL": "loud", "PORT": "tcp://10.0.0.1:80", "APP_ENV": "blue"}
    settings = given(**others, ADMIN_PASSWORD="x", WEB_CONCURRENCY="many")
    assert (settings.log_level, settings.port, settings.admin_password, settings.secret_key) == ("info", 80, "x", None)
    assert given(SQLALCHEMY_DATABASE_URI="postgresql:///shop").application.dsn.name == "shop"
    both = given(SQLALCHEMY_DATABASE_URI="postgresql:///shop", DATABASE_URL="postgresql:///app")
    assert both.application.dsn.name == "app"


def test_release_comes_from_railway() -> None:
    """The ledger's name of a release is APP_RELEASE, else the commit that Railway deploys."""
    assert given(RAILWAY_GIT_COMMIT_SHA="abc").release == "abc"
    assert given(RAILWAY_GIT_COMMIT_SHA="abc", APP_RELEASE="v2").release == "v2"


def test_secrets_are_shown_nowhere() -> None:
    """Neither printing nor formatting nor logging the settings or their parts shows a password or a key."""
    settings = given(
        DATABASE_URL=f"postgresql://me:{ESCAPED}@localhost/app", ADMIN_PASSWORD=PASSWORD, SECRET_KEY=PASSWORD
    )
    database = settings.database
    shown = [repr(settings), f"{settings}", f"{database}", f"{database!r}", "%s" % database, str(database)]  # noqa: UP031
    for text in shown:
        assert PASSWORD not in text
        assert ESCAPED not in text
    assert f"{database}" == "postgresql://me:***@localhost/app"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{PASSWORD}@db:x/app",
        f"postgresql://me:{PASSWORD}@[::1/app",
        f"postgresql://me:{PASSWORD}@db/app?nonsense=1",
        f"mysql://me:{PASSWORD}@db/app",
        f"me:{PASSWORD}@db://app",
        f"postgresql://me:12?{PASSWORD}@db/app",
        f"postgresql://me:{PASSWORD}\udcff@db/app",
        f"postgresql://me:{PASSWORD}%00@db/app",
    ],
)
def test_message_about_a_wrong_url_keeps_its_password(url: str) -> None:
    """A URL that cannot be read is told without any part of it that could be a secret."""
    told = refusal(DATABASE_URL=url).render() + json.dumps(refusal(DATABASE_URL=url).record())
    for part in (PASSWORD, "p@ss", "w%rd", "é", "\udcff"):
        assert part not in told


def test_driver_gets_the_password() -> None:
    """psycopg2 is given the whole string, although printing it shows none of it."""
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(Dsn.of(host="/nowhere", password=PASSWORD))
    assert parse_dsn(Dsn.of(password=PASSWORD)) == {"password": PASSWORD}


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        (Dsn.of(host="db", user="me", password="x", dbname="app"), "postgresql://me:***@db/app"),
        (Dsn.of(host="a,b", port="1,2", dbname="app"), "postgresql://a:1,b:2/app"),
        (Dsn.of(host="a,b", port="5433", dbname="app"), "postgresql://a:5433,b:5433/app"),
        (Dsn.of(host="::1", port="5433", dbname="app"), "postgresql://[::1]:5433/app"),
        (Dsn.of(host="/tmp", dbname="app"), "postgresql:///app?host=/tmp"),
        (Dsn.of(host="/tmp", port="5432", dbname="app"), "postgresql:///app?host=/tmp"),
        (Dsn.of(host="/tmp", port="5433", dbname="app"), "postgresql:///app?host=/tmp&port=5433"),
        (Dsn.of(dbname="app", user="me"), "postgresql://me@/app"),
        (Dsn.of(user="a@b", host="db"), "postgresql://a%40b@db/"),
    ],
)
def test_databases_are_shown_as_urls(dsn: Dsn, shown: str) -> None:
    """People see a URL: who, where, which database."""
    assert dsn.redacted() == shown


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"PORT=1\nMIGRATE_HAZARDS: warn, s3cret\n", ".env, line 2, cannot be read; write NAME=value"),
        (b"PORT=1\nDATABASE_URL='s3cret\n", ".env, line 2, cannot be read; write NAME=value"),
        (b"PORT=1\nLOG_LEVEL=s3\0cret\n", ".env, line 2, cannot be read; write NAME=value"),
        ("PORT=1\n".encode("utf-16"), ".env is not UTF-8; save it as UTF-8 (PowerShell's > writes UTF-16)"),
    ],
)
def test_dotenv_that_cannot_be_read(tmp_path: Path, written: bytes, told: str) -> None:
    """The file and the line are named, what stands there is not: nothing of the file counts."""
    (tmp_path / ".env").write_bytes(written)
    with pytest.raises(Stop) as caught:
        load(Project(root=tmp_path))
    assert told in str(caught.value.render("start"))
    assert "s3cret" not in caught.value.render("start")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("MIGRATE_ON_STRAT", "MIGRATE_ON_START"),
        ("MIGRATE_HAZARD", "MIGRATE_HAZARDS"),
        ("DEV_CREATE_TABLE", "DEV_CREATE_TABLES"),
        ("MIGRATE_DATABASE_URI", "MIGRATE_DATABASE_URL"),
    ],
)
def test_a_misspelt_setting_is_told(written: str, meant: str) -> None:
    """Whoever wrote MIGRATE_ON_STRAT=off must not be migrated."""
    assert f"{written} is no setting; did you mean {meant}?" in refusal(**{written: "off"}).render("start")


@pytest.mark.parametrize(
    "variables",
    [
        {"PGSERVICE": "prod", "PGDATABASE": "app"},
        {"PGSERVICE": "prod"},
        {"PGHOSTADDR": "192.0.2.1", "PGDATABASE": "app"},
        {"PGHOSTADDR": "192.0.2.1", "DATABASE_URL": "postgresql://localhost/app"},
        {"DATABASE_URL": "postgresql:///?service=prod"},
    ],
)
def test_a_place_that_only_libpq_knows_is_production(variables: dict[str, str]) -> None:
    """A service, or an address beside the host, leads elsewhere than the rest says."""
    assert given(**variables).production
    assert not given(PGHOSTADDR="127.0.0.1", PGDATABASE="app").production


def test_a_release_that_cannot_be_written_down() -> None:
    """The ledger takes UTF-8 only."""
    assert "APP_RELEASE is not UTF-8" in refusal(APP_RELEASE="v\udcff").render("start")


def test_names_of_others_are_let_be() -> None:
    """Another tool may have its own MIGRATE_ variables, and an empty one says nothing."""
    assert given(MIGRATE_COMMAND="up", MIGRATE_DATABASE="true", MIGRATE_ON_STRAT=" ") == given()


def test_dotenv_fills_in_and_never_overrides(tmp_path: Path) -> None:
    """`.env` is read where the environment is silent; its other PG* variables reach libpq."""
    (tmp_path / ".env").write_text("LOG_LEVEL=debug\nPORT=9000\nPGSSLMODE=require\nAPP_RELEASE='v 1'\n")
    code = (
        "import os, pathlib, sys; from railhead.project import Project; from railhead.settings import load; settings = load(Project(root=pathlib.Path(sys.argv[1])))\n"
        "print(settings.log_level, settings.port, settings.release, os.environ['PGSSLMODE'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    variables = environment(PORT="9001", PYTHONPATH=str(ROOT))
    said = subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout
    assert said == "debug 9001 v 1 require\n"


def test_settings_alone_load_no_driver() -> None:
    """Without a database to check, reading the settings imports neither psycopg2 nor dotenv."""
    code = "import sys; from railhead.settings import Settings; Settings.from_env({})\nprint({'psycopg2', 'dotenv'} & {*sys.modules})"
    variables = environment(PYTHONPATH=str(ROOT))
    said = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    ).stdout
    assert said == "set()\n"
