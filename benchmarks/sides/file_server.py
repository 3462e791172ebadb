"""uvicorn with Starlette's FileResponse of one file: an upper bound for a Python server. Run as a module."""

from __future__ import annotations

import argparse

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route


def main() -> None:
    """Serve ``/file`` until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()

    async def file(request: Request) -> Response:
        return FileResponse(arguments.path, media_type="application/vnd.safetensors")

    async def ready(request: Request) -> Response:
        return PlainTextResponse("ready")

    app = Starlette(routes=[Route("/file", file), Route("/ready", ready)])
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
