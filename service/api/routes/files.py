"""Routes of files, as OpenAI's API has them: inputs and outputs of batches."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from typing import Annotated, Any, BinaryIO, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from promptatlas.types import DeletedFile, FileList, FileObject
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.requests.auth import Admin, Reader, Writer
from service.api.requests.bodies import FORM_TYPE, media_type, unsupported_type
from service.api.responses.openapi import problems
from service.api.services import Services, ServicesDep
from service.errors import InvalidRequest
from service.planning.kinds.batch import PURPOSE
from service.store.client_files import ClientFile
from service.store.datasets.importer import disk_errors_as_unavailable
from service.store.locked_folders import scratch_folder

router = APIRouter(tags=["batches"])

_CHUNK_BYTES = 1 << 20
_MAX_FIELDS = 8
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM_TYPE: {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": [PURPOSE]},
                    },
                }
            }
        },
    }
}

FileIdPath = Annotated[str, Path(max_length=100, description="Id of the file.")]


@router.post(
    "/v1/files",
    response_model=FileObject,
    responses=problems(401, 403, 413, 415, 422, 429, 500, 503, openai=True),
    openapi_extra=_FORM,
)
async def upload(request: Request, services: ServicesDep, _caller: Writer) -> FileObject:
    """Store a file of requests for a batch. The body is a form with the parts `file` and `purpose`."""
    kind = media_type(request)
    if kind != FORM_TYPE:
        raise unsupported_type(kind, expected=f"a form, {FORM_TYPE}, with the parts file and purpose")
    with disk_errors_as_unavailable():
        form = await _form(request)
    try:
        purpose, file = form.get("purpose"), form.get("file")
        if purpose != PURPOSE:
            raise InvalidRequest(f"Expected purpose {PURPOSE!r}, got {str(purpose)[:80]!r}.", loc=("purpose",))
        if not isinstance(file, UploadFile):
            raise InvalidRequest("Expected a part 'file' with a file, got none.", loc=("file",))
        stored = await asyncio.to_thread(_store, services, file.file, filename=file.filename or "file.jsonl")
    finally:
        await form.close()
    return _on_wire(stored)


@router.get("/v1/files", responses=problems(401, 403, 422, 500, 503, openai=True))
async def list_files(
    services: ServicesDep,
    _caller: Reader,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Files per page.")] = 100,
    after: Annotated[str | None, Query(max_length=100, description="Id of the last file of the previous page.")] = None,
    order: Annotated[Literal["desc"], Query(description="Newest first.")] = "desc",
    purpose: Annotated[str | None, Query(max_length=100, description="Files with this purpose only.")] = None,
) -> FileList:
    """List files, newest first."""
    page = await asyncio.to_thread(services.files.list_files, limit=min(limit, 1000), after=after, purpose=purpose)
    rows = [_on_wire(file) for file in page.items]
    ends = {"first_id": rows[0].id, "last_id": rows[-1].id} if rows else {}
    return FileList(data=rows, has_more=page.has_more, **ends)


@router.get("/v1/files/{file_id}", responses=problems(401, 403, 404, 422, 500, 503, openai=True))
async def get(services: ServicesDep, _caller: Reader, file_id: FileIdPath) -> FileObject:
    """Read the description of a file."""
    return _on_wire(await asyncio.to_thread(services.files.get, file_id))


@router.get(
    "/v1/files/{file_id}/content",
    response_class=Response,
    responses={
        200: {
            "description": "The file.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(401, 403, 404, 422, 500, 503, openai=True),
    },
)
async def content(services: ServicesDep, _caller: Reader, file_id: FileIdPath) -> Response:
    """Download a file. Its hash is verified while it is sent; the response to a damaged file is cut off."""
    stream, file = await asyncio.to_thread(services.files.open, file_id)
    return _Download(stream, file)


@router.delete("/v1/files/{file_id}", responses=problems(401, 403, 404, 422, 500, 503, openai=True))
async def delete(services: ServicesDep, _caller: Admin, file_id: FileIdPath) -> DeletedFile:
    """Delete a file."""
    await asyncio.to_thread(services.files.delete, file_id)
    return DeletedFile(id=file_id)


class _Download(StreamingResponse):
    """Streams a file and closes it, also when the client disconnects."""

    def __init__(self, stream: BinaryIO, file: ClientFile) -> None:
        headers = {
            "Content-Length": str(file.n_bytes),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, no-cache",
        }
        super().__init__(_chunks(stream), media_type="application/octet-stream", headers=headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


async def _chunks(stream: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(stream.read, _CHUNK_BYTES):
        yield chunk


async def _form(request: Request) -> FormData:
    """The form; a large file is in a temporary file, not in memory."""
    try:
        return await request.form(max_files=1, max_fields=_MAX_FIELDS)
    except HTTPException as error:
        raise InvalidRequest(f"The multipart form cannot be read: {error.detail}") from None


def _store(services: Services, source: BinaryIO, *, filename: str) -> ClientFile:
    with disk_errors_as_unavailable(), scratch_folder() as folder:
        path = folder / "upload"
        with path.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
        return services.files.create(path, filename=filename, purpose=PURPOSE)


def _on_wire(file: ClientFile) -> FileObject:
    return FileObject(
        id=file.id, bytes=file.n_bytes, created_at=file.created_s, filename=file.filename, purpose=file.purpose
    )
