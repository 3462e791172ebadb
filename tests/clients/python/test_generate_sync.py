"""The synchronous half of the SDK is generated from the asynchronous one, and is current."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from generate_sync import PACKAGE, convert, generated, main, read_module, twins

SOURCE = '''"""Asynchronous nouns."""

from __future__ import annotations

import anyio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from promptatlas.transport._async.page import AsyncPage, Mapped

LIMIT = 3
PAUSE = "AsyncPage"


def path_of(name: str) -> str:
    return f"/{name}"


class AsyncNoun:
    """As AsyncPage; use ``async with``."""

    def __init__(self, sleep: Callable[[float], Awaitable[list[str]]] = anyio.sleep) -> None:
        self._sleep = sleep

    async def __aenter__(self) -> AsyncNoun:  # an AsyncNoun
        await self.aclose()
        return self

    async def rows(self, page: AsyncPage[str]) -> AsyncIterator[str]:
        async with page as opened:
            async for row in opened:
                yield (await self.get(path_of(row)))[:LIMIT]


async def first(noun: AsyncNoun) -> object:
    return Mapped(await open_page_async(noun))
'''
TWIN = '''"""Synchronous nouns."""
from __future__ import annotations
import time
from collections.abc import Iterator, Awaitable, Callable
from promptatlas.transport._sync.page import Page
from promptatlas.transport._async.page import Mapped
from nouns import LIMIT, PAUSE, path_of
class Noun:
    """As Page; use ``with``."""

    def __init__(self, sleep: Callable[[float], list[str]] = time.sleep) -> None:
        self._sleep = sleep

    def __enter__(self) -> Noun:  # an Noun
        self.close()
        return self

    def rows(self, page: Page[str]) -> Iterator[str]:
        with page as opened:
            for row in opened:
                yield (self.get(path_of(row)))[:LIMIT]
def first(noun: Noun) -> object:
    return Mapped(open_page(noun))
'''
PAGES = "class AsyncPage:\n    pass\n\n\nclass Mapped:\n    pass\n"


def test_the_generated_half_is_current() -> None:
    expected = generated(PACKAGE)
    assert [path for path, text in expected.items() if path.read_text(encoding="utf-8") != text] == []
    files = set(PACKAGE.rglob("_sync/*.py")) | {PACKAGE / "client.py"}
    assert files == set(expected)


def test_the_generated_half_has_nothing_asynchronous() -> None:
    for path in twins(PACKAGE).values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)), path
            assert not isinstance(node, ast.ClassDef) or not node.name.startswith("Async"), path


def test_a_twin_by_hand() -> None:
    modules = {"nouns": read_module(SOURCE), "promptatlas.transport._async.page": read_module(PAGES)}
    header, _, text = convert("nouns", modules=modules).partition("\n")
    assert header == "# Generated from nouns by generate_sync.py: edit that module, then run `make generate`."
    assert text == TWIN


def test_code_that_uses_a_converted_definition_is_converted_too() -> None:
    source = "class AsyncA:\n    pass\n\n\nb = AsyncA\n\n\ndef c() -> None:\n    b()\n\n\ndef d() -> None:\n    pass\n"
    assert read_module(source).converted == {"AsyncA", "b", "c"}


def test_check_names_what_is_not_current(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = tmp_path / "promptatlas"
    room = package / "room" / "_async"
    room.mkdir(parents=True)
    (package / "async_client.py").write_text("class AsyncClient:\n    pass\n", encoding="utf-8")
    (room / "noun.py").write_text("async def verb() -> None:\n    pass\n", encoding="utf-8")
    arguments = ["--package", str(package)]
    assert main([*arguments, "--check"]) == 1
    assert capsys.readouterr().out == "not current: client.py\nnot current: room/_sync/noun.py\n"
    assert not (package / "client.py").exists()
    assert main(arguments) == 0
    assert (
        (package / "room" / "_sync" / "noun.py").read_text(encoding="utf-8").endswith("def verb() -> None:\n    pass\n")
    )
    assert main([*arguments, "--check"]) == 0
