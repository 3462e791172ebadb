from __future__ import annotations

import io
import random
import tracemalloc
import zipfile
from typing import Any

import pytest

from service.errors import AtlasError, InvalidRequest, TooLarge
from service.store.prompts.peft.adapter_zip import (
    CONFIG_NAME,
    MAX_CONFIG_BYTES,
    MAX_ENTRIES,
    WEIGHTS_NAME,
    read_adapter_zip,
    write_adapter_zip,
)


def zipped(files: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


FILES = {CONFIG_NAME: b"{}", WEIGHTS_NAME: b"weights"}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_two_files_come_out(compression: int) -> None:
    assert read_adapter_zip(zipped(FILES, compression=compression)) == (b"{}", b"weights")


def test_one_folder_around_them_and_other_files_beside_are_fine() -> None:
    nested = {f"adapter/{name}": content for name, content in FILES.items()}
    assert read_adapter_zip(zipped({**nested, "adapter/README.md": b"#"})) == (b"{}", b"weights")
    finder = {**nested, "__MACOSX/adapter/._README.md": b"x"}
    assert read_adapter_zip(zipped(finder)) == (b"{}", b"weights")
    assert read_adapter_zip(zipped({**FILES, "checkpoint-5/optimizer.pt": b"x"})) == (b"{}", b"weights")


def test_what_is_written_is_read_and_always_the_same() -> None:
    data = write_adapter_zip(b"{}", weights=b"weights")
    assert read_adapter_zip(data) == (b"{}", b"weights")
    assert data == write_adapter_zip(b"{}", weights=b"weights")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({CONFIG_NAME: b"{}", "adapter_model.bin": b"x"}, "weights are pickled.*safe_serialization=True"),
        ({CONFIG_NAME: b"{}"}, f"{WEIGHTS_NAME} is missing"),
        ({WEIGHTS_NAME: b""}, f"{CONFIG_NAME} is missing"),
        ({}, f"{CONFIG_NAME} is missing"),
        ({f"a/{CONFIG_NAME}": b"{}", f"b/{WEIGHTS_NAME}": b""}, "is missing"),
        ({f"a/b/{name}": content for name, content in FILES.items()}, "is missing"),
        ({**FILES, "../evil": b""}, "path outside of it"),
        ({**FILES, "a/../../evil": b""}, "path outside of it"),
        ({**FILES, "/etc/passwd": b""}, "path outside of it"),
        ({**FILES, "..\\evil": b""}, "path outside of it"),
        ({**FILES, "C:/evil": b""}, "path outside of it"),
    ],
)
def test_what_is_no_adapter_directory_is_refused(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_adapter_zip(zipped(files))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_given_twice_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in (CONFIG_NAME, WEIGHTS_NAME, WEIGHTS_NAME):
            archive.writestr(name, b"x")
    with pytest.raises(InvalidRequest, match="twice"):
        read_adapter_zip(buffer.getvalue())


def test_bombs_are_refused_before_they_go_off() -> None:
    bomb = zipped({**FILES, WEIGHTS_NAME: b"\0" * 5_000_000})
    assert len(bomb) < 10_000
    with pytest.raises(TooLarge, match="5000000 bytes; the limit is 4000000"):
        read_adapter_zip(bomb, max_weights_bytes=4_000_000)
    with pytest.raises(TooLarge, match=CONFIG_NAME):
        read_adapter_zip(zipped({**FILES, CONFIG_NAME: b" " * (MAX_CONFIG_BYTES + 1)}))
    with pytest.raises(TooLarge, match=f"{MAX_ENTRIES + 2} files"):
        read_adapter_zip(zipped({**FILES, **{f"f{i}": b"" for i in range(MAX_ENTRIES)}}))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_inflate_without_bound_are_refused(compression: int) -> None:
    with pytest.raises(InvalidRequest, match="must be stored or deflated"):
        read_adapter_zip(zipped(FILES, compression=compression))


def test_a_size_that_lies_lets_no_more_out() -> None:
    data = zipped({**FILES, WEIGHTS_NAME: b"\0" * 50_000_000})
    # The sizes stand in each local header and once more in the directory; make both say 100 bytes.
    true_size = (50_000_000).to_bytes(4, "little")
    assert data.count(true_size) == 2
    lying = data.replace(true_size, (100).to_bytes(4, "little"))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="zip file cannot be read"):
            read_adapter_zip(lying)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x05\x06" + b"\0" * 17, zipped(FILES)[:-30], zipped(FILES)[30:]])
def test_what_is_no_zip_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"zip file cannot be read|missing"):
        read_adapter_zip(data)


def test_encrypted_files_are_refused() -> None:
    data = bytearray(zipped(FILES))
    for at in (data.find(b"PK\x03\x04") + 6, data.find(b"PK\x01\x02") + 8):
        data[at] |= 1
    with pytest.raises(InvalidRequest, match="encrypted"):
        read_adapter_zip(bytes(data))


def test_mutated_zips_are_read_or_refused_and_nothing_else() -> None:
    draw = random.Random(0)
    n_refused = 0
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        good: Any = zipped({CONFIG_NAME: b'{"a":1}' * 9, WEIGHTS_NAME: bytes(range(200))}, compression=compression)
        for _ in range(3000):
            data = bytearray(good)
            for _ in range(draw.randint(1, 3)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            try:
                read_adapter_zip(bytes(data), max_weights_bytes=1 << 20)
            except AtlasError:
                n_refused += 1
    assert n_refused > 1000
