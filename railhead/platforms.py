"""What do platforms say in the environment, and what do other people's words for our settings mean?

Knows names and spellings only: reads no environment, decides nothing, and imports next to nothing, since every start does so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PLATFORMS = {
    "Heroku, Dokku": ("DYNO", "HEROKU_DYNO_ID", "HEROKU_RELEASE_VERSION"),
    "Google Cloud Run": (
        "K_SERVICE",
        "K_REVISION",
        "K_CONFIGURATION",
        "CLOUD_RUN_JOB",
        "CLOUD_RUN_EXECUTION",
        "CLOUD_RUN_WORKER_POOL",
    ),
    "Google App Engine": ("GAE_SERVICE", "GAE_APPLICATION", "GAE_INSTANCE", "GAE_VERSION", "GAE_ENV"),
    "Fly.io": ("FLY_APP_NAME", "FLY_MACHINE_ID", "FLY_ALLOC_ID", "FLY_REGION"),
    "Render": ("RENDER", "RENDER_SERVICE_ID", "RENDER_SERVICE_NAME", "RENDER_INSTANCE_ID"),
    "AWS Lambda": ("AWS_LAMBDA_FUNCTION_NAME", "LAMBDA_TASK_ROOT"),
    "AWS Elastic Beanstalk": ("RDS_HOSTNAME", "EB_ENVIRONMENT_NAME", "ELASTICBEANSTALK_ENVIRONMENT_NAME"),
    "Amazon ECS": ("ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI", "ECS_AGENT_URI"),
    "Azure Container Apps": ("CONTAINER_APP_NAME", "CONTAINER_APP_REVISION", "CONTAINER_APP_JOB_NAME"),
    "Azure App Service": ("WEBSITE_INSTANCE_ID", "WEBSITE_SITE_NAME"),
    "Azure Service Fabric": ("Fabric_ApplicationName",),
    "Vercel": ("VERCEL",),
    "Netlify": ("NETLIFY",),
    "Cloud Foundry": ("VCAP_APPLICATION", "CF_INSTANCE_GUID", "CF_INSTANCE_INDEX"),
    "Scalingo": ("CONTAINER_VERSION", "CONTAINER_SIZE", "CONTAINER_MEMORY"),
    "Clever Cloud": ("CC_DEPLOYMENT_ID", "CC_PRETTY_INSTANCE_NAME", "INSTANCE_NUMBER"),
    "Coolify": ("COOLIFY_CONTAINER_NAME", "COOLIFY_RESOURCE_UUID", "COOLIFY_FQDN", "COOLIFY_BRANCH"),
    "Dokku": ("DOKKU_APP_NAME", "DOKKU_APP_TYPE", "DOKKU_ROOT"),
    "CapRover": ("CAPROVER_GIT_COMMIT_SHA",),
    "Platform.sh": ("PLATFORM_APPLICATION_NAME", "PLATFORM_ENVIRONMENT", "PLATFORM_PROJECT"),
    "Koyeb": ("KOYEB_SERVICE_NAME", "KOYEB_APP_NAME", "KOYEB_INSTANCE_ID"),
    "Northflank": ("NF_PROJECT_ID", "NF_OBJECT_ID", "NF_DEPLOYMENT_SHA"),
    "Zeabur": ("ZEABUR_SERVICE_ID", "ZEABUR_SERVICE_NAME", "ZEABUR_PROJECT_ID"),
    "IBM Code Engine": ("CE_APP", "CE_JOB", "CE_SUBDOMAIN"),
    "Alibaba Function Compute": ("FC_FUNCTION_NAME",),
    "Cloudflare Containers": ("CLOUDFLARE_APPLICATION_ID", "CLOUDFLARE_DURABLE_OBJECT_ID"),
    "PythonAnywhere": ("PYTHONANYWHERE_SITE", "PYTHONANYWHERE_DOMAIN"),
    "Replit Deployments": ("REPLIT_DEPLOYMENT",),
    "Hugging Face Spaces": ("SPACE_HOST", "SPACE_AUTHOR_NAME"),
    "Modal": ("MODAL_TASK_ID",),
    "Nomad": ("NOMAD_ALLOC_ID", "NOMAD_JOB_NAME", "NOMAD_TASK_NAME"),
    "Marathon, Mesos": ("MARATHON_APP_ID", "MESOS_TASK_ID"),
    "Kubernetes": ("KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT"),
}
"""What each platform sets by itself in the processes that it runs, the most telling first. What its command line reads on a
developer's machine (FLY_API_TOKEN, NOMAD_ADDR, COOLIFY_TOKEN ...) is not here."""

TELLING_VALUES = {
    "AWS_EXECUTION_ENV": (r"AWS_.+", "AWS"),  # in AWS CloudShell, somebody's desk, it is CloudShell
    "VERCEL_ENV": (r"production|preview", "Vercel"),
    "WEBSITE_HOSTNAME": (r".+\.azurewebsites\.net", "Azure App Service"),  # localhost:7071 in the tools for a desk
    "CONTAINER": (r"[a-z][\w-]*-\d+", "Scalingo"),
    "APP_ID": (r"app_[0-9a-f-]{36}", "Clever Cloud"),
    "INSTANCE_TYPE": (r"production|build", "Clever Cloud"),
}
"""Variables of platforms that others set, too: only such a value tells."""

TEST_RUNNERS = (
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "CIRCLECI",
    "BUILDKITE",
    "TF_BUILD",
    "JENKINS_URL",
    "BITBUCKET_BUILD_NUMBER",
    "TEAMCITY_VERSION",
    "CODEBUILD_BUILD_ID",
    "HEROKU_TEST_RUN_ID",
    "TRAVIS",
    "DRONE",
    "SEMAPHORE",
    "APPVEYOR",
    "CIRRUS_CI",
)
"""Set where tests run, often in a cluster: its variables say nothing of the application then. `CI` alone is not here, because
people write it into images to quieten tools."""

_DEPLOYED = frozenset(
    {
        "production",
        "prod",
        "prd",
        "live",
        "staging",
        "stage",
        "stg",
        "preprod",
        "preproduction",
        "nonprod",
        "preview",
        "pre",
        "qa",
        "uat",
        "sit",
        "demo",
        "canary",
        "review",
        "acceptance",
        "acc",
        "sandbox",
        "release",
        "public",
        "hosted",
        "beta",
    }
)
_AT_HAND = frozenset({"development", "develop", "developer", "dev", "devel", "local", "localhost"})
_UNDER_TEST = frozenset({"test", "testing", "tests", "ci", "unittest", "pytest"})

_YES = frozenset({"1", "true", "t", "yes", "y", "on", "enable", "enabled"})
_NO = frozenset({"0", "false", "f", "no", "n", "off", "disable", "disabled", "none", "null"})

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_LEVEL_WORDS = {
    "debug": "trace verbose notset all fine finer finest silly",
    "info": "information informational notice default normal",
    "warning": "warn",
    "error": "err errors",
    "critical": "crit fatal alert emerg emergency panic off none silent quiet",
}
_LEVEL_OF = {word: level for level, words in _LEVEL_WORDS.items() for word in (level, *words.split())}

_FORMATS = {
    "json": "json jsonl ndjson structured gelf ecs",
    "text": "text txt plain plaintext console pretty human simple",
}
_FORMAT_OF = {word: name for name, words in _FORMATS.items() for word in words.split()}

_PORT = r"(?:(?:\w+://)?(?:\[[0-9a-fA-F:.]*\]|[\w.*-]*):)?(\d{1,5})(?:/(?:tcp)?)?"


_TYPED = {
    "Railway": "railway run {command}   on your machine, with DATABASE_PUBLIC_URL in the place of the private URL; or as the service's pre-deploy command",
    "Heroku, Dokku": "heroku run {command}   (dokku run APP ...); or in the Procfile's release phase",
    "Fly.io": "fly machine run . {command}   or on your machine behind `fly proxy 5432`; or as the release_command of fly.toml",
    "Render": "{command}   as the service's pre-deploy command, or on your machine with the database's external URL",
    "Google Cloud Run": "gcloud run jobs execute   of a job with this image and {command}; or on your machine behind the Cloud SQL Auth Proxy",
    "Amazon ECS": "aws ecs run-task   with {command} as the container's command; or on a machine inside the VPC",
    "Kubernetes": "kubectl run migrate --rm -it --image=... -- {command}   with the same environment; or in a Job",
}
"""Where a command can be typed when the application does not start: a failed deploy has no shell."""

_ANYWHERE = "{command}   on a machine of yours that reaches the database, with its public URL in DATABASE_URL"


def where_to_type(name: str, command: str) -> str:
    """Return where a command can be typed on a platform whose deploy has failed."""
    return f"a failed deploy has no shell; type it so:\n{_TYPED.get(name, _ANYWHERE).format(command=command)}"


def platform(environ: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the variable of a platform's own that is set, and the platform; None on a desk, and where tests run."""
    here = {name: value for name, value in environ if value.strip()}
    if not here.keys().isdisjoint(TEST_RUNNERS):
        return None
    railway = sorted(name for name in here if name.startswith("RAILWAY_"))
    if railway:
        return railway[0], "Railway"
    for name, variables in PLATFORMS.items():
        for variable in variables:
            if variable in here:
                return variable, name
    for variable, (pattern, name) in TELLING_VALUES.items():
        if variable in here and re.fullmatch(pattern, here[variable]):
            return variable, name
    return None


def environment(text: str) -> str | None:
    """Return what a name for an environment means: `production`, `development`, `test`, or None when nobody can tell.

    Names may be composed (`prod-eu`, `dev_anna`, `staging2`): what is deployed anywhere goes before what is not.
    """
    words = set(re.findall(r"[a-z]+", text.lower()))
    if words & _DEPLOYED:
        return "production"
    return "development" if words & _AT_HAND else "test" if words & _UNDER_TEST else None


def boolean(text: str) -> bool:
    """Return whether it says yes. Raises ValueError."""
    if text.lower() in _YES | _NO:
        return text.lower() in _YES
    raise ValueError(text)


def level(text: str) -> str:
    """Return Python's name of a log level: `WARN`, `trace`, or a number as Python counts them. Raises ValueError."""
    if text.isdecimal() and int(text) <= 60:
        return next((name for name, number in _LEVELS.items() if number >= int(text)), "critical")
    if text.lower() not in _LEVEL_OF:
        raise ValueError(text)
    return _LEVEL_OF[text.lower()]


def log_format(text: str) -> str:
    """Return `json` or `text`. Raises ValueError."""
    if text.lower() not in _FORMAT_OF:
        raise ValueError(text)
    return _FORMAT_OF[text.lower()]


def port(text: str) -> int:
    """Return the port of `8000`, `:8000`, `0.0.0.0:8000`, `8000/tcp` or `tcp://10.0.0.1:8000`. Raises ValueError."""
    match = None if text.isdecimal() else re.fullmatch(_PORT, text)
    number = int(match[1] if match else text)
    if not 1 <= number <= 65535:
        raise ValueError(text)
    return number
