"""Where is a database? URLs as people write them, connection strings as libpq reads them, and never a password in sight."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from railhead import url_habits

_DEFAULT_PORT = "5432"


class Dsn(str):
    """A libpq connection string that shows its password to nobody but the driver: `str`, `repr` and `redacted` hide it."""

    __slots__ = ()

    @classmethod
    def of(cls, **parameters: str) -> Dsn:
        """Return the key=value form that libpq reads, each value quoted."""
        return cls(" ".join(f"{key}='{_escape(value)}'" for key, value in parameters.items() if value))

    def parameters(self) -> dict[str, str]:
        """Return what `of` was given."""
        pairs = re.findall(r"(\w+)='((?:[^'\\]|\\.)*)'", self, re.DOTALL)
        return {key: re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for key, value in pairs}

    @property
    def name(self) -> str:
        """Return the name of the database, which is the user's where none is given."""
        parameters = self.parameters()
        return parameters.get("dbname") or parameters.get("user") or ""

    def redacted(self) -> str:
        """Return a URL fit for people: user, hosts, ports, database; `***` for a password."""
        parameters = self.parameters()
        hosts = parameters.get("host", "").split(",")
        ports = parameters.get("port", "").split(",")
        places = [_place(host, ports[index % len(ports)]) for index, host in enumerate(hosts)]
        user = quote(parameters.get("user", ""), safe="")
        secret = ":***" if parameters.get("password") else ""
        who = f"{user}{secret}@" if user or secret else ""
        sockets = all(not host or host.startswith("/") for host in hosts)
        where = "" if sockets else ",".join(places)
        port = f"&port={ports[0]}" if ports[0] not in {"", _DEFAULT_PORT} else ""
        path = f"?host={hosts[0]}{port}" if sockets and hosts[0] else ""
        return f"postgresql://{who}{where}/{parameters.get('dbname', '')}{path}"

    def with_(self, **parameters: str) -> Dsn:
        """Return a copy with these parameters put in the place of its own."""
        return Dsn.of(**{**self.parameters(), **parameters})

    def is_local(self) -> bool:
        """Tell whether every host named is this machine (a socket folder, localhost, 127.x, ::1, or none).

        Which host a `service` names only libpq knows: that is not this machine. Nor is what a proxy's socket in `/cloudsql` leads to.
        """
        parameters = self.parameters()
        if "service" in parameters:
            return False
        hosts = (parameters.get("hostaddr") or parameters.get("host") or "").lower().split(",")
        return all(
            host in {"", "localhost", "::1"} or _is_socket(host) or re.fullmatch(r"127(\.\d+){3}", host)
            for host in hosts
        )

    def __str__(self) -> str:
        return self.redacted()

    def __repr__(self) -> str:
        return f"Dsn({self.redacted()})"


class Address(NamedTuple):
    """Where a database is, which setting says so, and from which replica it is spoken to."""

    dsn: Dsn
    variable: str
    replica: str = "localhost"

    def session_name(self, command: str) -> str:
        """Return the application name under which pg_stat_activity shows the sessions of a command."""
        return f"railhead {command} @ {self.replica}"[:63]

    def __str__(self) -> str:
        return f"{self.dsn.redacted()} ({self.variable})"


def parse_url(text: str) -> Dsn:
    """Return the Dsn of a `postgresql://` or `postgres://` URL, whatever its driver suffix.

    As forgiving as it can be with passwords that nobody escaped: the last `@` before the query ends them, and a percent
    sign that starts no escape stands for itself. Raises ValueError, without any part of the URL that could be a secret.
    """
    url, mistakes = url_habits.unwrapped(text)
    mistakes += url_habits.unfilled(url)
    scheme, separator, rest = url.partition("://")
    if mistakes and not separator:
        raise ValueError(_listed(mistakes))
    if not separator and re.match(r"\s*(?:host|hostaddr|port|dbname|user|service)\s*=", url):
        raise ValueError("is in libpq's key=value form, and a URL is wanted")
    if not separator or not re.fullmatch(r"[\w+.-]*", scheme):
        raise ValueError("is not a URL")
    dialect = scheme.partition("+")[0].lower()
    if dialect not in {"postgresql", "postgres"}:
        raise ValueError(f"names {dialect or 'no database'}, and Railhead speaks PostgreSQL only")
    before_query, _, query = rest.partition("?")
    user_info, _, location = before_query.rpartition("@")
    authority, _, dbname = location.partition("/")
    user, _, password = user_info.partition(":")
    parameters = {"user": unquote(user), "password": unquote(password)}
    try:
        parameters["host"], parameters["port"] = _hosts(authority.split(","))
    except ValueError:
        if not mistakes:
            raise
    parameters["dbname"] = unquote(dbname)
    mistakes += _add_query(parameters, query)
    if mistakes:
        raise ValueError(_listed(mistakes))
    return checked(Dsn.of(**parameters))


def _listed(mistakes: list[str]) -> str:
    return f"cannot be used as it is: {'; '.join(mistakes)}"


def _hosts(places: list[str]) -> tuple[str, str]:
    """Return libpq's comma lists of hosts and ports from `host:port` places, IPv6 in brackets."""
    hosts, ports = [], []
    for place in places:
        match = re.fullmatch(r"\[([^\]]*)\](?::(\d*))?|([^:\[\]]*)(?::(\d*))?", place)
        if match is None:
            raise ValueError("has a host or port that cannot be read (IPv6 addresses go in brackets)")
        hosts.append(unquote(match[1] if match[1] is not None else match[3]))
        ports.append(match[2] or match[4] or "")
    return (",".join(hosts) if any(hosts) else ""), (",".join(ports) if any(ports) else "")


def _add_query(parameters: dict[str, str], query: str) -> list[str]:
    """Add what stands behind the question mark, and return what is wrong with it."""
    # As libpq reads it: a plus sign stands for itself, and `ssl=true` for `sslmode=require`.
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    pairs = [("sslmode", "require") if pair == ("ssl", "true") else pair for pair in pairs]
    if not all(re.fullmatch(r"\w+", key) for key, _ in pairs):
        raise ValueError("has a part after the question mark that cannot be read (a ? in a password is written %3F)")
    mistakes = url_habits.options(pairs, _libpq_knows)
    if mistakes:
        return mistakes
    hosts = [value for key, value in pairs if key == "host"]
    parameters.update(pairs)
    if len(hosts) > 1:  # SQLAlchemy's way of naming several hosts
        parameters["host"], parameters["port"] = _hosts(hosts)
    return []


def _libpq_knows(key: str) -> bool:
    from psycopg2 import ProgrammingError  # settings alone must not cost the driver
    from psycopg2.extensions import parse_dsn

    try:
        parse_dsn(f"{key}=''")
    except (ProgrammingError, UnicodeEncodeError):
        return False
    return True


def checked(dsn: Dsn) -> Dsn:
    """Return `dsn` when libpq can read it. Raises ValueError with libpq's reason, which names no value."""
    from psycopg2 import ProgrammingError  # settings alone must not cost the driver
    from psycopg2.extensions import parse_dsn

    try:
        parse_dsn(dsn)
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    except ProgrammingError as error:
        raise ValueError(f"is refused by libpq ({str(error).strip()})") from None
    ports = dsn.parameters().get("port", "")
    if any(port and not (port.isdigit() and 0 < int(port) < 65536) for port in ports.split(",")):
        raise ValueError("has a port that is not a number from 1 to 65535")
    return dsn


def _place(host: str, port: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _is_socket(host: str) -> bool:
    """Tell whether a server of this machine listens there: in a folder, or at an abstract name."""
    return host.startswith(("/", "@")) and not host.startswith("/cloudsql/")
