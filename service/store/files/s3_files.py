"""Files in S3, and in stores with its protocol, by obstore.

The bucket's region, endpoint and credentials come from the environment: ``AWS_DEFAULT_REGION``, ``AWS_ENDPOINT_URL``,
``AWS_ACCESS_KEY_ID`` …, a web identity, or the instance's metadata; with ``AWS_PROFILE``, from boto3's profiles.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import S3Store

from service.store.files.failures import TranslatingReader, driver_errors_as_unavailable
from service.store.files.files import BLOCK_BYTES, Digest, FileEntry, HashedBlocks
from service.store.files.write_probe import WriteProbe

_PART_BYTES = 16 << 20
_N_AT_ONCE = 32
_CLIENT: dict[str, Any] = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=30),
    "timeout": timedelta(hours=6),  # of a whole request; the default of 30 s is too short for a large object
}
# obstore's default waits for a lost store for three minutes; a request of a client should not.
_RETRIES: dict[str, Any] = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}

_REFUSED = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
# A refused listing or deletion is a general error of obstore, which has the status in its text alone.
_REFUSED_STATUS = re.compile(r"status:? 40[13]\b|\b40[13] (Forbidden|Unauthorized)")


class S3Files:
    """Keys under ``s3://bucket/folder``. Writes are atomic, and ``create`` is a conditional write.

    An object must not be used after a fork of the process in which it was used.

    Args:
        url: of the bucket and folder.
        environ: see above.
    """

    def __init__(self, url: str, *, environ: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._environ = os.environ if environ is None else environ
        self._probe = WriteProbe(self)

    def read(self, key: str) -> bytes:
        with _errors("read"):
            return bytes(obstore.get(self._bucket, key).bytes())

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        def read(key: str) -> bytes | None:
            try:
                return self.read(key)
            except FileNotFoundError:
                return None

        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return {}
        with ThreadPoolExecutor(min(_N_AT_ONCE, len(wanted))) as threads:
            found = zip(wanted, threads.map(read, wanted), strict=True)
            return {key: data for key, data in found if data is not None}

    def put(self, key: str, data: bytes) -> None:
        with _errors("written"):
            obstore.put(self._bucket, key, data, use_multipart=len(data) > _PART_BYTES, chunk_size=_PART_BYTES)

    def put_file(self, key: str, path: Path) -> Digest:
        # The file is read twice: a multipart upload is atomic only if obstore reads the file itself.
        with open(path, "rb") as source:
            blocks = HashedBlocks(source)
            for _ in blocks:
                pass
        with _errors("written"):
            obstore.put(self._bucket, key, path, chunk_size=_PART_BYTES)
        return blocks.digest

    def open(self, key: str) -> io.RawIOBase:
        with _errors("read"):
            chunks = obstore.get(self._bucket, key).stream(min_chunk_size=BLOCK_BYTES)
        return TranslatingReader(_ChunkReader(chunks), translate=_errors)

    def create(self, key: str, data: bytes) -> None:
        with _errors("written"):
            obstore.put(self._bucket, key, data, mode="create", use_multipart=False)

    def remove(self, key: str) -> None:
        with _errors("written"):
            obstore.delete(self._bucket, key)

    def remove_folder(self, folder: str) -> None:
        with _errors("written"):
            for batch in obstore.list(self._bucket, f"{folder}/"):
                obstore.delete(self._bucket, [entry["path"] for entry in batch])

    def names(self, folder: str) -> list[str]:
        with _errors("read"):
            found = obstore.list_with_delimiter(self._bucket, f"{folder}/" if folder else None)
        paths = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        return sorted({path.rstrip("/").rpartition("/")[2] for path in paths})

    def walk(self) -> Iterator[FileEntry]:
        with _errors("read"):
            for batch in obstore.list(self._bucket):
                for entry in batch:
                    modified_s = entry["last_modified"].timestamp()
                    yield FileEntry(key=entry["path"], modified_s=modified_s, n_bytes=entry["size"])

    def check(self) -> None:
        with _errors("read"):
            next(iter(obstore.list(self._bucket, chunk_size=1)), None)
        self._probe.check()

    def local_path(self, key: str) -> Path | None:
        return None

    def hold_reserve(self) -> None:
        """Nothing to do: object stores do not fill up."""

    def release_reserve(self) -> bool:
        return False

    @cached_property
    def _bucket(self) -> S3Store:
        client = {**_CLIENT, "allow_http": self._environ.get("AWS_ENDPOINT_URL", "").startswith("http://")}
        options: dict[str, Any] = {"client_options": client, "retry_config": _RETRIES}
        if self._environ.get("AWS_PROFILE"):
            from obstore.auth.boto3 import Boto3CredentialProvider  # boto3 is needed for profiles alone

            options["credential_provider"] = Boto3CredentialProvider()
        return S3Store.from_url(self._url, **options)


class _ChunkReader:
    """File over chunks: one request for the whole object, unlike ``obstore.open_reader``."""

    def __init__(self, chunks: Iterable[Any]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def read(self, n_bytes: int) -> memoryview:
        """At most ``n_bytes``; nothing at the end."""
        while not self._rest and (chunk := next(self._chunks, None)) is not None:
            self._rest = memoryview(chunk)
        data, self._rest = self._rest[:n_bytes], self._rest[n_bytes:]
        return data

    def close(self) -> None:
        """Stop reading."""
        self._chunks, self._rest = iter(()), memoryview(b"")


@contextmanager
def _errors(action: str) -> Iterator[None]:
    """Errors of obstore as those of ``Files``."""
    with driver_errors_as_unavailable(action):
        try:
            yield
        except exceptions.NotFoundError as error:
            raise FileNotFoundError from error
        except exceptions.AlreadyExistsError as error:
            raise FileExistsError from error
        except exceptions.BaseError as error:
            if isinstance(error, _REFUSED) or _REFUSED_STATUS.search(str(error)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
            raise
