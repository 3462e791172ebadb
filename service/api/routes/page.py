"""The web page at ``/``: static files without authentication. The data they load requires a key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from service.api.routes.runs.artifacts import REPORT_POLICY

FRAME = "report-frame.html"
"""The file that displays reports: sandboxed without an origin, so that a report cannot access the page around it."""

# Scripts, styles and data from this server only; no text becomes markup (trusted types).
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class PageFiles(StaticFiles):
    """Files of the page. Browsers revalidate each one by its ETag."""

    def file_response(self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200) -> Response:
        """The file with its security headers."""
        path = Path(full_path)
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Content-Security-Policy"] = REPORT_POLICY if path.name == FRAME else _PAGE_POLICY
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if "content-type" in response.headers and path.suffix in _TYPES:  # the system's MIME table may differ
            response.headers["Content-Type"] = _TYPES[path.suffix]
        return response


def default_page_path() -> Path:
    """Folder of the page's files, next to the package."""
    return Path(__file__).resolve().parents[3] / "clients" / "web"


def page_router(folder: Path) -> APIRouter:
    """Routes ``/`` and ``/web/…`` for the files in ``folder``; 404 if it does not exist."""
    router = APIRouter(include_in_schema=False)
    files = PageFiles(directory=folder, check_dir=False)

    async def send(path: str, request: Request) -> Response:
        if not folder.is_dir():
            raise HTTPException(
                404, "This installation has no web page; the API is at /v1, its description at /openapi.json."
            )
        return await files.get_response(path, request.scope)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return await send("index.html", request)

    @router.api_route("/web/{path:path}", methods=["GET", "HEAD"])
    async def file(request: Request, path: str) -> Response:
        return await send(path, request)

    return router
