"""Pages of the site that lie outside of docs/, as they are in the repository: a hook of MkDocs.

Tables lie beside the scripts that print them, and the files that every repository has lie at its
root. In the repository a page links to them as ``../benchmarks/accuracy/claims.md``; on the site
they are pages too, one folder nearer.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]

LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?\)")


def outside() -> list[str]:
    """Paths of these pages, from the root of the repository."""
    tables = sorted(ROOT.glob("benchmarks/*/*.md"))
    alone = [ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")]
    return [path.relative_to(ROOT).as_posix() for path in [*tables, *alone]]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them to the site."""
    for path in outside():
        file = File.generated(
            config, path, abs_src_path=str(ROOT / path), inclusion=InclusionLevel.NOT_IN_NAV
        )
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at where a page of the repository is on the site."""
    del config
    where = page.file.src_uri
    home = posixpath.dirname(where if where in outside() else f"docs/{where}")

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(home, link[2]))
        target = target.removeprefix("docs/")
        if files.get_file_from_path(target) is None:
            return link[0]
        return f"{link[1]}{posixpath.relpath(target, posixpath.dirname(where))}{link[3] or ''})"

    return LINK.sub(moved, markdown)
