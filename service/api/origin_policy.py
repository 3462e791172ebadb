"""Rules for ``Host`` and ``Origin``: which names a request may address, and which web pages may send it.

A server without API keys trusts everyone who can connect, which includes every web page in a browser on this machine. Two
rules keep such pages out:

- ``Host`` must be a loopback name. A page whose domain resolves to 127.0.0.1 (DNS rebinding) shares the origin of its requests,
  but its ``Host`` is still that domain.
- ``Origin`` must be the server's own, or missing. Browsers send it with every cross-origin request except plain GETs, which
  Fetch Metadata (``Sec-Fetch-*``) identifies.

With keys, a page needs a key like any other client, so both are free unless ``PROMPTATLAS_ALLOWED_HOSTS`` is set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from service.settings import ANY_HOST, Settings, is_loopback

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
_MAX_SHOWN = 80


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Reason for a 403. title: also the problem type, as a slug."""

    title: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class OriginPolicy:
    """The rules of one server.

    Args:
        has_keys: whether requests need an API key.
        hosts: further names (``name`` or ``name:port``) for ``Host``, or ``*`` for any.
        origins: further origins whose pages may send requests and read responses (CORS).
    """

    has_keys: bool
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> OriginPolicy:
        """The rules that the settings define."""
        return cls(
            has_keys=settings.requires_keys,
            hosts=frozenset(settings.allowed_hosts),
            origins=frozenset(settings.allowed_origins),
        )

    def refusal(self, method: str, *, headers: Headers) -> Refusal | None:
        """Why a request is refused; None for a request that is allowed."""
        host = _only(headers, "host").lower()
        if not self._allows_host(host):
            return Refusal(title="Host not allowed", detail=_host_detail(host))
        if self.has_keys:
            return None
        origin = _only(headers, "origin")
        if "origin" in headers:
            allowed = self.allows_origin(origin) or origin.lower() in (f"http://{host}", f"https://{host}")
        else:
            allowed = not _is_cross_origin(method, headers=headers)
        return None if allowed else Refusal(title="Origin not allowed", detail=_origin_detail(origin))

    def allows_origin(self, origin: str) -> bool:
        """Whether ``PROMPTATLAS_ALLOWED_ORIGINS`` lists this origin."""
        return origin.lower() in self.origins

    def _allows_host(self, host: str) -> bool:
        if ANY_HOST in self.hosts or (self.has_keys and not self.hosts):
            return True
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"]
        return is_loopback(name.strip("[]")) or name in self.hosts or host in self.hosts


def _only(headers: Headers, name: str) -> str:
    """The value of a header; empty if it is missing or repeated."""
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else ""


def _is_cross_origin(method: str, *, headers: Headers) -> bool:
    """Whether a request without ``Origin`` comes from a page of another origin. A link to this server may be followed."""
    # Pages on other ports of this machine are "same-site".
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    is_link = headers.get("sec-fetch-mode", "navigate") == "navigate"
    is_plugin = headers.get("sec-fetch-dest") in ("object", "embed")
    return method not in ("GET", "HEAD") or not is_link or is_plugin


def _host_detail(host: str) -> str:
    return (
        f"Expected a loopback name such as 127.0.0.1 or localhost as Host, got {host[:_MAX_SHOWN]!r}. "
        "PROMPTATLAS_ALLOWED_HOSTS adds other names."
    )


def _origin_detail(origin: str) -> str:
    received = f"the origin {origin[:_MAX_SHOWN]!r}" if origin else "a request of another site's page"
    return (
        f"Expected a request of this server's own page or of a program, got {received}. Set API keys, or add the origin to "
        "PROMPTATLAS_ALLOWED_ORIGINS."
    )
