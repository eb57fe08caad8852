"""What do managed servers and their proxies say to whom they do not let in, and what do their makers advise?

By patterns on their words, the first that fits. They are asked before PostgreSQL's own: several say a word of hers with another meaning.
"""

from __future__ import annotations

from railhead.postgres.answer import Answer

_NEON_ENDPOINT = Answer(
    "endpoint-unknown",
    "the proxy does not see which endpoint is meant",
    "name the host as Neon's console gives it (not its address); a libpq before 14 also needs, at the end of {variable}:\n"
    "options=endpoint%3D{endpoint}",
)
_NEON_TWO_ENDPOINTS = Answer(
    "endpoint-unknown",
    "the host and the options name two different endpoints",
    "take options=endpoint... or project... out of {variable}: the host names the endpoint already",
)
_ENDPOINT_GONE = Answer(
    "endpoint-unknown",
    "the provider knows no such endpoint",
    "copy the URL anew from the provider's console into {variable}: the branch, its endpoint or the project was deleted, moved or renamed",
)
_SUPABASE_TENANT = Answer(
    "endpoint-unknown",
    "the pooler knows no such project or user",
    "copy the URL anew from Connect in Supabase's dashboard into {variable}: through the pooler the user is postgres.<project ref>,\n"
    "and the host is the one of the project's region; a paused project is restored there, too",
)
_COCKROACH = Answer(
    "endpoint-unknown",
    "the proxy does not see which cluster is meant",
    "name the host as the console of CockroachDB gives it, with sslmode=verify-full (no address, and no sslmode=require), or put at the end of {variable}:\n"
    "options=--cluster%3D<name of the cluster>-<number>",
)
_QUOTA = Answer(
    "quota-exceeded",
    "the provider has stopped the database: a quota of it is used up",
    "nothing in {variable} is wrong, and waiting does not help before the next period: raise the plan or its limit in the provider's console",
)
_SUSPENDED = Answer(
    "database-suspended",
    "the provider has switched the database off",
    "start, resume or restore it in the provider's console, then start again; one that was deleted has another URL in its place: correct {variable}",
)
_ACCOUNT = Answer(
    "database-suspended",
    "the provider has closed the account or the project",
    "see what its console says of payments and limits; nothing in {variable} is wrong",
)
_ADDRESS = Answer(
    "not-allowed",
    "the provider lets only some addresses in, and not this one",
    "add the address that stands above, or that of this machine, to the allowed ones in the provider's console\n"
    "(Neon: IP Allow; Supabase: Network Restrictions; CockroachDB: IP allowlist; Azure: firewall rules); a platform needs a static outbound address for that",
)
_SESSION_MODE = Answer(
    "too-many-connections",
    "the pooler has no room for one more client in session mode",
    "let {variable} use the pooler in transaction mode (port 6543 at Supabase) and MIGRATE_DATABASE_URL the server itself,\n"
    "or lower WEB_CONCURRENCY and the number of replicas, or raise the pool size in the provider's settings",
    passes=True,
)
_PROXY_BUSY = Answer(
    "too-many-connections",
    "the provider's proxy takes no more connections at the moment",
    "lower WEB_CONCURRENCY or the number of replicas, or raise the limit of the proxy; migrations may go past it: MIGRATE_DATABASE_URL",
    passes=True,
)
_COMPUTE = Answer(
    "unreachable",
    "the provider's proxy answers, and the database behind it does not",
    "see in the provider's console (and on its status page) that the database runs, then start again",
    passes=True,
)
_RDS_IAM = Answer(
    "cloud-sign-in",
    "AWS does not take the sign-in",
    "a token of IAM holds for 15 minutes and is made anew for each start (aws rds generate-db-auth-token), its special characters as %..;\n"
    "the role needs GRANT rds_iam TO {user}, the policy rds-db:connect on it, and {variable} sslmode=require;\n"
    "a role without rds_iam signs in with a password, and one with it never does",
)
_RDS_PROXY_IAM = Answer(
    "cloud-sign-in",
    "the proxy of AWS does not take the sign-in",
    "make a new token for the proxy's own host name (aws rds generate-db-auth-token), give the policy rds-db:connect on the proxy for {user},\n"
    "and use sslmode=require in {variable}",
)
_RDS_PROXY_SECRET = Answer(
    "cloud-sign-in",
    "the proxy of AWS has no credentials for this role",
    "add a secret of Secrets Manager with its name and password to the proxy (aws rds modify-db-proxy --auth ...) and let the proxy's role read it,\n"
    "or name a role that it knows in {variable}; MIGRATE_DATABASE_URL may name the server itself",
)
_CLOUD_SQL_IAM = Answer(
    "cloud-sign-in",
    "Google Cloud does not take the sign-in",
    "switch cloudsql.iam_authentication on, give the account roles/cloudsql.instanceUser and roles/cloudsql.client, and make it a user of the instance;\n"
    "the user in {variable} is the account's address, of a service account without .gserviceaccount.com; the Auth Proxy runs with\n"
    "--auto-iam-authn and as the same account",
)
_ENTRA = Answer(
    "cloud-sign-in",
    "Azure does not take the sign-in",
    "a token of Microsoft Entra holds for about an hour and is made anew for each start, for https://ossrdbms-aad.database.windows.net;\n"
    "the user in {variable} is the name of the Entra principal as the server knows it (pgaadauth_list_principals), and the sslmode require",
)
_TOKEN = Answer(
    "cloud-sign-in",
    "the provider does not take the sign-in",
    "a token or key of a cloud expires: make a new one for each start, or use a role with a password in {variable}",
)
_AZURE_USER = Answer(
    "no-such-role",
    "the user's name lacks the server's",
    "a Single Server of Azure wants the user as name@server, in {variable} as name%40server; a Flexible Server wants it without",
)
_PLAIN_ONLY = Answer(
    "startup-parameter",
    "the provider's proxy refuses a parameter that the connection asks for",
    "take it out of {variable} (options=...) and out of PGOPTIONS; what has to hold is set at the role, once:\n"
    "ALTER ROLE {user} SET search_path = ...;\n"
    "or MIGRATE_DATABASE_URL names the database without the proxy (Neon: the host without -pooler; RDS: the cluster's endpoint)",
)

ANSWERS: tuple[tuple[str, Answer], ...] = (
    (r"session mode|MaxClients|EMAXCONN", _SESSION_MODE),
    (
        r"ECHECKOUTTIMEOUT|too many competing|rate of connection|acquire (?:permit|database connection)|too many connections to this endpoint|max(?:imum number of)? client connections",
        _PROXY_BUSY,
    ),
    (
        r"compute node|control plane|DbHandler|connection to database not available|failed to subscribe to tenant",
        _COMPUTE,
    ),
    (r"endpoint ID is not specified|project ID is not specified", _NEON_ENDPOINT),
    (r"inconsistent (?:project|endpoint)", _NEON_TWO_ENDPOINTS),
    (
        r"allow_?list|EADDRNOTALLOWED|IP address .*not allowed|client with IP|(?:IP|address) .*not allowed to connect|proxy ?refused|VPC endpoint",
        _ADDRESS,
    ),
    (
        r"quota|concurrently active endpoints|active endpoints limit|upgrade your plan|(?:usage|spend\w*|storage|size|resource|compute|plan|transfer|monthly|free)\W+(?:\w+ )?(?:limit|allowance|tier)|request unit|exceeded .*plan",
        _QUOTA,
    ),
    (r"codeParamsRoutingFailed|cluster (?:identifier|name)|routing (?:error|failed)", _COCKROACH),
    (r"tenant|ENOTFOUND", _SUPABASE_TENANT),
    (
        (
            r"(?:endpoint|project|branch|cluster|instance|workspace|organi[sz]ation|service|application)\b.{0,60}(?:not (?:be )?found|does not exist|unknown|not recogni[sz]ed|no longer exists)"
            r"|(?:unknown|no such|invalid|cannot find|could not find) (?:endpoint|project|branch|cluster|instance|service)"
        ),
        _ENDPOINT_GONE,
    ),
    (r"payment|billing|account .*(?:suspended|closed|disabled|locked)|past due|trial .*(?:ended|expired)", _ACCOUNT),
    (
        r"\b(?:endpoint|project|branch|instance|database|server|compute|cluster|service|add-?on)\b.{0,60}\b(?:disabled|paused|suspended|stopped|deactivated|deleted|inactive|archived|hibernat\w+|blocked|powered off|decommissioned)",
        _SUSPENDED,
    ),
    (r"Cloud SQL IAM|gserviceaccount", _CLOUD_SQL_IAM),
    (r"PAM authentication failed|rds_iam", _RDS_IAM),
    (r"no credentials for the role", _RDS_PROXY_SECRET),
    (r"\bIAM\b(?!.*SSL)", _RDS_PROXY_IAM),
    (r"Entra|Azure (?:AD|Active Directory)|AADSTS|\bAAD\b|managed identity", _ENTRA),
    (r"\b(?:access|auth\w*|identity|bearer|security|session|id|web)?[ _-]?(?:token|jwt|api.?key|oauth)\b", _TOKEN),
    (r"invalid username specified|username should be in", _AZURE_USER),
    (r"unpooled|RDS Proxy (?:currently )?(?:doesn't|does not)|feature not supported", _PLAIN_ONLY),
)
"""Patterns and what they mean. A name in quotation marks is `""` here."""
