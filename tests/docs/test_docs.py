"""The pages: links resolve, Python parses, and commands, paths and folders exist."""

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
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("demo/model/*.md"), *ROOT.glob("examples/*.md")]
)
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
    """Anchors of a page's headings, in GitHub's format."""
    headings = re.findall(r"^#+ +(.*)$", prose_of_headings(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def prose_of_headings(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> Iterator[list[str]]:
    """The words of each command line in the page's shell blocks, without comments."""
    for block in blocks_of(page):
        if block.language not in ("bash", "sh", "shell", "console"):
            continue
        joined = block.text.replace("\\\n", " ")
        for line in re.split(r"\n(?=\S)", joined):
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                yield words


@pytest.mark.parametrize("name", NAMES)
def test_links_resolve_to_files_and_headings(name: str) -> None:
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
    """The first word that is no command or option of ``promptatlas``; None if all exist."""
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


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("README", "docs/"))])
def test_paths_in_inline_code_exist(name: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    paths = re.findall(r"`((?:service|workers|clients|tests|benchmarks|docs)/[\w/.*-]+)`", text)
    assert [path for path in paths if not any(ROOT.glob(path.rstrip("/")))] == []


def test_a_wrong_command_is_detected() -> None:
    assert unknown_word(["prompts", "invent"]) == "invent"
    assert unknown_word(["complete", "demo", "text", "--loud"]) == "--loud"
    assert unknown_word(["complete", "demo", "text", "-p", "qa", "-t", "0"]) is None


def folders_of_the_map(text: str) -> list[str]:
    """The folders of an indented tree as paths. Two spaces are one level."""
    found: list[str] = []
    above: list[str] = []
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = re.split(r" {2,}", line.strip())[0]
        above = [*above[:depth], name]
        found.append("".join(above).rstrip("/"))
    return found


def test_the_file_map_has_all_folders() -> None:
    section = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("## Folders")[1]
    tree = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert tree is not None
    named = folders_of_the_map(tree[1])
    assert [name for name in named if not (ROOT / name).is_dir()] == []
    assert len(set(named)) == len(named)
    with_code = {
        path.parent.relative_to(ROOT) for room in ("service", "workers") for path in ROOT.glob(f"{room}/**/*.py")
    }
    assert {str(folder) for folder in with_code} <= set(named)
    top = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert top <= {name.partition("/")[0] for name in named} | {"build", "dist"}


def test_the_file_map_is_read_by_indentation() -> None:
    assert folders_of_the_map("a/     x\n  b/c/  y\n    d/  z\n  e/\nf/\n") == ["a", "a/b/c", "a/b/c/d", "a/e", "f"]
