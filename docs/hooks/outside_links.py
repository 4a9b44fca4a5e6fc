"""MkDocs hook: links to files of the repository that are no pages of the site.

GitHub resolves ``../deploy/fly/fly.toml`` beside the page; the site has no such file. The link goes
to the published repository where ``repo_url`` names one, else its text stays and the path is told.
A file that does not exist is a warning, which ends a strict build.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.outside_links")
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>\.\.?/[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links that leave ``docs/`` replaced; code blocks stay as they are."""
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_replaced(markdown[end : fence.start()], page, config), fence[0]]
        end = fence.end()
    return "".join([*parts, _replaced(markdown[end:], page, config)])


def _replaced(prose: str, page: Page, config: MkDocsConfig) -> str:
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    folder = (docs / page.file.src_uri).parent

    def replace(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / link["target"]))
        if target.is_relative_to(docs):
            return link[0]
        if not target.is_relative_to(root) or not target.exists():
            log.warning("%s links to %s, which does not exist", page.file.src_uri, link["target"])
            return link[0]
        path = target.relative_to(root).as_posix()
        if config.repo_url:
            kind = "tree" if target.is_dir() else "blob"
            address = f"{config.repo_url.rstrip('/')}/{kind}/main/{path}{link['anchor'] or ''}"
            return f"[{link['text']}]({address})"
        told = link["text"].strip("`")
        return f"`{path}`" if told in (path, target.name) else f"{link['text']} (`{path}`)"

    return _LINK.sub(replace, prose)
