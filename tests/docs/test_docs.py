"""The pages: links lead somewhere, Python parses, and commands name what exists."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from promptatlas.cli import create_app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("demo/model/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(language, text) for language, text in found]


def prose_of(page: Path) -> str:
    """The page without its fenced blocks and inline code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors_of(page: Path) -> set[str]:
    """Anchors of a page's headings, as hosts of repositories make them."""
    headings = re.findall(r"^#+ +(.*)$", prose_of_headings(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def prose_of_headings(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> Iterator[list[str]]:
    """Words of each command line in the page's shell blocks, without comments."""
    for block in blocks_of(page):
        if block.language not in ("bash", "sh", "shell", "console"):
            continue
        joined = block.text.replace("\\\n", " ")
        for line in re.split(r"\n(?=\S)", joined):
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                yield words


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    page = ROOT / name
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        path, _, anchor = target.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors_of(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("name", NAMES)
def test_python_parses(name: str) -> None:
    for block in blocks_of(ROOT / name):
        if block.language == "python":
            ast.parse(block.text)


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    inline = re.findall(r"`make ([a-z][\w-]*)[^`]*`", (ROOT / name).read_text(encoding="utf-8"))
    used = {words[1] for words in commands_of(ROOT / name) if words[0] == "make" and len(words) > 1} | set(inline)
    assert used <= targets


@pytest.mark.parametrize("name", NAMES)
def test_commands_of_the_sdk_exist(name: str) -> None:
    for words in commands_of(ROOT / name):
        if Path(words[0]).name == "promptatlas":
            assert unknown_word(words[1:]) is None, words


def unknown_word(words: list[str]) -> str | None:
    """The first word that names no command or option of ``promptatlas``; None if all do."""
    command = typer.main.get_command(create_app())
    while (inner := getattr(command, "commands", None)) is not None:
        if not words or words[0].startswith("-"):
            return None
        if words[0] not in inner:
            return words[0]
        command, words = inner[words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return next((word for word in used if word not in known | {"--help"}), None)


@pytest.mark.parametrize("name", NAMES)
def test_modules_and_test_files_exist(name: str) -> None:
    for words in commands_of(ROOT / name):
        for flag, module in itertools.pairwise(words):
            if flag == "-m" and re.fullmatch(r"[a-z_.]+", module) and words[0].startswith(("python", ".venv")):
                assert importlib.util.find_spec(module) is not None, words
        missing = [
            word for word in words if word.startswith("tests/") and not (ROOT / word.partition("::")[0]).exists()
        ]
        assert not missing


def test_a_wrong_command_is_seen() -> None:
    assert unknown_word(["prompts", "invent"]) == "invent"
    assert unknown_word(["complete", "demo", "text", "--loud"]) == "--loud"
    assert unknown_word(["complete", "demo", "text", "-p", "qa", "-t", "0"]) is None


def test_the_file_map_names_what_is_there() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Files")[1]
    lines = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert lines is not None
    folder, missing, top = Path(), [], set()
    for line in lines[1].splitlines():
        indent, names = len(line) - len(line.lstrip()), re.split(r" {2,}", line.strip())[0]
        if indent == 0:
            folder = Path(names) if names.endswith("/") else Path()
            top.add(names.rstrip("/").partition("/")[0])
        paths = [Path(names)] if indent == 0 else [folder / name for name in names.split(", ")]
        missing += [str(path) for path in paths if not (ROOT / path).exists()]
    assert not missing
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= top | {"build", "dist"}
