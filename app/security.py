"""What may a browser do with our pages, and whom do we believe? Headers, proxies, where a redirect may lead."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from railhead import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",  # not none: over https the CSRF check looks at the referrer
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_A_YEAR = 365 * 24 * 3600
_LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


def init_app(app: Flask, settings: Settings) -> None:
    """Send the headers with every answer, and believe a proxy in front of us."""
    app.wsgi_app = BehindProxy(app.wsgi_app)  # type: ignore[method-assign]  # Flask documents this assignment
    app.url_map.merge_slashes = False  # a redirect for //x would repeat whatever host the client claims

    @app.after_request
    def protect(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        if settings.production and request.is_secure:
            response.headers.setdefault("Strict-Transport-Security", f"max-age={_A_YEAR}")
        return response


class BehindProxy:
    """Believes X-Forwarded-For, -Proto and -Host from a neighbour, and from nobody else.

    A platform's proxy reaches us from a private address. Who comes from a public one is the client itself, and could
    write what it likes there, for instance to look like somebody new after every wrong password.
    """

    def __init__(self, application: WSGIApplication) -> None:
        """Wrap `application`; one proxy is believed, so of several addresses the last counts."""
        self.direct = application
        self.forwarded = ProxyFix(application, x_for=1, x_proto=1, x_host=1)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        application = self.forwarded if _is_neighbour(environ.get("REMOTE_ADDR", "")) else self.direct
        return application(environ, start_response)


def _is_neighbour(address: str) -> bool:
    try:
        return not ipaddress.ip_address(address).is_global
    except ValueError:  # a unix socket has no address
        return True


def local_path(target: str | None, otherwise: str) -> str:
    """Return `target` when it is a path on this site, else `otherwise`: a redirect never leads elsewhere."""
    return target if target and _LOCAL_PATH.fullmatch(target) else otherwise
