"""What do PostgreSQL, PgBouncer and their kin say to whom they do not let in?

By patterns on their words, the first that fits: a failed connection carries no SQLSTATE, so the text must do.
"""

from __future__ import annotations

from railhead.postgres.answer import Answer

STARTING = Answer(
    "unreachable",
    "the database does not answer",
    "see that the server runs and that {variable} names it, then start again",
    passes=True,
)

_FULL_SERVER = Answer(
    "too-many-connections",
    "the server has no connection left for us",
    "see who has them, lower WEB_CONCURRENCY or the number of replicas, or raise max_connections:\n"
    "SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2 ORDER BY 3 DESC;",
    passes=True,
)
_FULL_POOLER = Answer(
    "too-many-connections",
    "the pooler has no room for one more client",
    "lower WEB_CONCURRENCY, the number of replicas or the pool of each, or raise the limit of the pooler\n"
    "(max_client_conn and default_pool_size of PgBouncer, the pool size in the settings of a provider);\n"
    "migrations need no pooler: MIGRATE_DATABASE_URL may name the server itself",
    passes=True,
)
_BEHIND_POOLER = Answer(
    "unreachable",
    "the pooler answers, and the database behind it does not",
    "see that the database runs and that the pooler may sign in there, or let {variable} name the server itself",
    passes=True,
)

TLS_REQUIRED = Answer(
    "tls-required",
    "the server takes encrypted connections only",
    "put sslmode=require behind the name of the database in {variable}, in the place of any other sslmode:\n"
    "...{place}?sslmode=require",
)
_CLIENT_CERTIFICATE = Answer(
    "certificate",
    "the server wants a certificate of the client",
    "name one in {variable}: sslmode=verify-ca&sslrootcert=...&sslcert=...&sslkey=...\n"
    "or let the server take connections without (Cloud SQL: the SSL mode of the instance, or its Auth Proxy)",
)
_PARAMETER = Answer(
    "startup-parameter",
    "the server refuses a parameter that the connection asks for",
    "take it out of {variable} (options=...) and out of PGOPTIONS; a pooler takes none that it does not know. What has to hold is set\n"
    "at the role, once:\nALTER ROLE {user} SET search_path = ...;\n"
    "or MIGRATE_DATABASE_URL names the server itself, without the pooler (PgBouncer can also be told to ignore it: ignore_startup_parameters)",
)
_HOT_STANDBY = STARTING._replace(
    advice="see that its recovery ends; a standby that answers no questions (hot_standby = off) never will: name the primary in {variable}"
)
"""What recovers says the same as a standby, and may be done in a moment."""
_NOT_ACCEPTING = Answer(
    "not-accepting",
    "the database accepts no connections",
    "somebody has closed it, for an upgrade or a copy perhaps; when that is over, as an administrator, in another database:\n"
    "ALTER DATABASE {database} ALLOW_CONNECTIONS true;\n"
    "or correct the name in {variable}",
)
_INVALID = Answer(
    "not-accepting",
    "the database is broken: its removal was interrupted",
    "nothing that was in it can be read any more; name another in {variable}, or restore it under another name",
)
_PASSWORD = Answer(
    "wrong-password",
    "the server refuses the password",
    "correct the password in {variable}",
)
_NO_PASSWORD = Answer("wrong-password", "the server wants a password", "correct the password in {variable}")
_OTHER_SIGN_IN = Answer(
    "wrong-password",
    "the server does not take the sign-in",
    "that is decided in pg_hba.conf, by the user of the operating system or by another service, and not by the password;\n"
    "name a host in {variable} (localhost) where a password is wanted, or let its operator change the line for {user}",
)
_POOLERS_LOGIN = Answer(
    "pooler-sign-in",
    "the pooler cannot sign in itself",
    "its own configuration is wrong, not {variable}: auth_file, auth_query or the password that it has for {user};\n"
    "let its operator correct that, or let {variable} name the server itself",
)
_NO_DATABASE = Answer(
    "no-such-database",
    "there is no such database",
    "create it (createdb {dbname}) or correct the name in {variable}",
)
_NO_DATABASE_IN_POOLER = Answer(
    "no-such-database",
    "there is no such database",
    "create it (createdb {dbname}) or correct the name in {variable}; a pooler knows only those that its configuration lists",
)
_NO_ROLE = Answer("no-such-role", "there is no such role", "create the role or correct the user in {variable}")
_NO_ENTRY = Answer(
    "not-allowed",
    "the server does not let us in",
    "give this role access (GRANT CONNECT, pg_hba.conf) or use another one in {variable};\n"
    "at a provider, allow the address of this machine (trusted sources, allowed addresses, authorized networks, firewall rules)",
)
_NO_LOGIN = Answer(
    "not-allowed",
    "the role may not log in",
    "as an administrator:\nALTER ROLE {user} LOGIN;\nor use another role in {variable} (a provider takes LOGIN away from credentials that were replaced)",
)
_NO_CONNECT = Answer(
    "not-allowed",
    "the role may not connect to this database",
    "as its owner:\nGRANT CONNECT ON DATABASE {database} TO {user};\nor use another role in {variable}",
)
_NO_TLS = Answer(
    "no-ssl",
    "the server does not speak TLS",
    "use sslmode=prefer in {variable}, or switch TLS on at the server",
)
_CERTIFICATE = Answer(
    "certificate",
    "the server's certificate is not accepted",
    "correct sslmode, sslrootcert or the host name in {variable}",
)
_SETTINGS = Answer(
    "settings",
    "a connection parameter is wrong",
    "correct {variable}; what libpq knows: https://www.postgresql.org/docs/current/libpq-connect.html",
)
_NOT_POSTGRESQL = Answer(
    "not-postgresql",
    "what answers there is not PostgreSQL",
    "correct the host and the port in {variable}: another service listens at {host}:{port}",
)

_DATABASE_SYSTEM = (
    r"database system is|Datenbanksystem|syst[eè]me de bases? de donn|sistema de base de datos|sistema di database|sistema de banco de dados"
    r"|систем[аы] баз|система управления баз|データベースシステム|数据库系统|資料庫系統|데이터베이스 시스템|databassystem|veritabanı sistem|system bazy danych"
    r"|система бази даних|მონაცემთა ბაზ"
)
"""What the four sentences of SQLSTATE 57P03 share, in the languages that PostgreSQL speaks: it starts, stops or recovers."""
_TOO_MANY = (
    r"too many clients|remaining connection slots|connection limit exceeded|too many connections for|zu viele Verbindungen|Verbindungen sind für"
    r"|trop de (?:clients|connexions)|connexions? restante?s?|demasiad[oa]s (?:clientes|conexiones)|troppi client|muitos clientes|muitas conexões"
    r"|слишком много|接続が多すぎ|クライアント数が多すぎ|太多|너무 많은 (?:클라이언트|접속)|för många|çok fazla"
)
_PASSING = (
    rf"{_DATABASE_SYSTEM}|terminating connection|\brestarting\b|(?:server|pooler|bouncer|pgdog|pgcat) is (?:shutting|starting)|server (?:is )?shutting down"
    r"|fail(?:ing )?over|switchover|under maintenance|is (?:still )?being (?:created|restored|upgraded|resized|moved)|not (?:yet )?ready"
)

ANSWERS: tuple[tuple[str, Answer], ...] = (
    (r"hot.standby", _HOT_STANDBY),
    (_PASSING, STARTING),
    (_TOO_MANY, _FULL_SERVER),
    (
        (
            r"no more connections allowed|max_client_conn|too many (?:tcp )?connections|max(?:imum)?(?: number of)? (?:client|connection|pool)\w*"
            r"|(?:client|connection|pool)\w* (?:limit|count)? ?(?:was |is )?(?:reached|exceeded|exhausted)|check(?: ?|-)?out|query_wait_timeout"
            r"|pool (?:is full|exhausted|timed out|timeout)|throttl|circuit breaker|too many .*(?:attempts|requests|errors)"
        ),
        _FULL_POOLER,
    ),
    (r"client certificate|certificate authentication failed", _CLIENT_CERTIFICATE),
    (
        r"password authentication failed|(?:wrong|incorrect|invalid) password(?! type)|password .*(?:is wrong|is incorrect|mismatch)",
        _PASSWORD,
    ),
    (
        r"SASL authentication failed|SCRAM exchange|Invalid username or password|invalid credentials|authentication error",
        _PASSWORD,
    ),
    (r"no password supplied|empty password", _NO_PASSWORD),
    (
        r"(?:ident|peer|trust|ldap|gssapi|sspi|radius|bsd|cert|kerberos)\W* authentication failed|(?<!based )authentication failed for",
        _OTHER_SIGN_IN,
    ),
    (r'authentication failed for user|"" authentication failed', _OTHER_SIGN_IN),
    (
        (
            r"cannot connect to (?:the )?(?:server|database|upstream|backend)|server_login_retry|server login has been failing|connect failed"
            r"|could(?: not|n't) (?:get|obtain|acquire|connect)|failed to (?:get|obtain|connect)|client_login_timeout|(?:all|no) (?:healthy )?(?:servers|replicas|hosts|backends)"
            r"|server conn crashed|connection to (?:the )?database (?:not|closed|failed)|control plane"
        ),
        _BEHIND_POOLER,
    ),
    (r"config error|auth_query|auth_user|authentication query|server login failed|wrong password type", _POOLERS_LOGIN),
    (r"server does not support SSL|did not accept SSL", _NO_TLS),
    (
        (
            r"no encryption|SSL off|insecure|(?:SSL|TLS|encrypt\w*)\b[^.:]{0,30}\b(?:required|mandatory|enforced)|requires? (?:an? )?(?:SSL|TLS|encrypt|secure)"
            r"|(?:only|must) (?:with|use|be) (?:SSL|TLS|encrypt)|without (?:SSL|TLS|encryption)|(?:non-SSL|unencrypted|plaintext) connections?"
        ),
        TLS_REQUIRED,
    ),
    (r"certificate|private key|tlsv1|unknown ca\b", _CERTIFICATE),
    (
        r"invalid (?:sslmode|channel_binding|gssencmode|target_session|sslnegotiation|require_auth|min|port|ssl\w*)|weak sslmode|invalid \w+ value|service .*not found|channel binding|authentication method requirement",
        _SETTINGS,
    ),
    (
        (
            r"startup parameter|unrecognized configuration parameter|permission denied to set parameter|invalid value for parameter|parameter \S* cannot be"
            r"|command-line (?:option|argument)|(?:not|n't) support (?:the |this )?(?:option|parameter|setting|startup|search_path|options)|unsupported (?:option|parameter|setting)"
        ),
        _PARAMETER,
    ),
    (r"invalid database", _INVALID),
    (
        r"not currently accepting connections|does not allow connections|not accepting connections|must be superuser to connect",
        _NOT_ACCEPTING,
    ),
    (r"no such database|no pool configured|route for .* not found", _NO_DATABASE_IN_POOLER),
    (
        r'(?:database|pool) "?[^"]*"? (?:does not exist|(?:was |is )?not found|is unknown)|unknown database',
        _NO_DATABASE,
    ),
    (
        r'no such user|(?:role|user|login) "?[^"]*"? (?:does not exist|(?:was |is )?not found|is unknown)|unknown user',
        _NO_ROLE,
    ),
    (r"not permitted to log ?in|role .*(?:disabled|locked)|user .*(?:disabled|locked)", _NO_LOGIN),
    (r"permission denied for database", _NO_CONNECT),
    (
        (
            r"pg_hba|host.based auth|not (?:allowed|permitted|authorized|whitelisted)|allow.?list|white.?list|firewall|login rejected|(?:ip|address|client) .*(?:blocked|denied|refused|banned)"
            r"|access denied|permission denied"
        ),
        _NO_ENTRY,
    ),
    (r"invalid response to (?:SSL|GSSAPI) negotiation|expected authentication request from server", _NOT_POSTGRESQL),
)
"""Patterns and what they mean. A name in quotation marks is `""` here."""
