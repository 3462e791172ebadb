"""MkDocs hook: pages link to files outside ``docs/`` as on a repository host, and the site still resolves these links.

Each file outside ``docs/`` that the navigation or a page names is copied into the site under ``repository/``. Links are
rewritten to the copy. The hook also separates lists, tables and fenced blocks from adjacent paragraphs: GitHub renders
these without a blank line, Python-Markdown does not.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

DOCS: Final = "docs/"
COPIES: Final = "repository/"
FENCE: Final = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"(?<=\]\()([^)\s#]+)((?:#[^)\s]*)?)(?=\))")
UNSEPARATED: Final = re.compile(r"^((?![-*|\s]|\d+\. )[^\n]+)\n(?=- |\* |\d+\. |\|)", re.MULTILINE)


def repository_path(uri: str) -> str:
    """The path in the repository of a source file of the site: ``api.md`` is ``docs/api.md``."""
    return uri.removeprefix(COPIES) if uri.startswith(COPIES) else DOCS + uri


def site_uri(path: str) -> str:
    """The inverse of `repository_path`: ``README.md`` is ``repository/README.md``."""
    return path.removeprefix(DOCS) if path.startswith(DOCS) else COPIES + path


def targets(text: str, *, uri: str) -> Iterator[str]:
    """Repository paths that a page links to. Links with a scheme and links inside fenced blocks do not count."""
    folder = posixpath.dirname(repository_path(uri))
    for part in FENCE.split(text)[::2]:
        for path, _ in LINK.findall(part):
            if "://" not in path and not path.startswith("mailto:"):
                yield posixpath.normpath(posixpath.join(folder, path))


def rewritten(text: str, *, uri: str) -> str:
    """The page as the site needs it: links lead to the copies; lists, tables and fenced blocks are separated."""
    folder = posixpath.dirname(repository_path(uri))

    def replace(link: re.Match[str]) -> str:
        path, anchor = link.groups()
        if "://" in path or path.startswith("mailto:"):
            return link[0]
        target = posixpath.normpath(posixpath.join(folder, path))
        return posixpath.relpath(site_uri(target), posixpath.dirname(uri) or ".") + anchor

    parts = FENCE.split(text)
    parts[::2] = [UNSEPARATED.sub(r"\1\n\n", LINK.sub(replace, part)) for part in parts[::2]]
    parts[1::2] = [f"\n{fence}\n" for fence in parts[1::2]]
    return "".join(parts)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside ``docs/`` that the navigation or a page names."""
    from mkdocs.structure.files import File

    root = Path(config.config_file_path).parent
    pages = [file.src_uri for file in files.documentation_pages()]
    waiting = [path for uri in pages for path in targets((root / repository_path(uri)).read_text("utf-8"), uri=uri)]
    waiting += [repository_path(uri) for uri in nav_uris(config.nav) if uri.startswith(COPIES)]
    copied: set[str] = set()
    while waiting:
        path = waiting.pop()
        source = root / path
        if path.startswith(DOCS) or path in copied or not source.is_file():
            continue
        copied.add(path)
        files.append(File.generated(config, site_uri(path), abs_src_path=str(source)))
        if source.suffix == ".md":
            waiting += targets(source.read_text("utf-8"), uri=site_uri(path))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite one page."""
    return rewritten(markdown, uri=page.file.src_uri)


def nav_uris(nav: Any) -> Iterator[str]:
    """All source files that a navigation names, in order."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for entry in nav.values():
            yield from nav_uris(entry)
    else:
        for entry in nav or ():
            yield from nav_uris(entry)
