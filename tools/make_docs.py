"""Builds the site of the documentation, without a network.

    .venv/bin/python tools/make_docs.py [FOLDER]

Stages the pages in FOLDER/docs (default: build/docs) and builds FOLDER/site from them. Written by
hand are docs/*.md, the page of errors that the command has with it, CHANGELOG.md and
CONTRIBUTING.md; the pages of the API and of the commands are generated. Whatever is wrong, such as
a link to nowhere, fails.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import docs_api
import docs_cli
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import MkDocsException
from pygments.formatters import HtmlFormatter

from subgrpc.cli.explanations import PAGE

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = {
    **{path: path.name for path in sorted((ROOT / "docs").glob("*.md"))},
    PAGE: "errors.md",
    ROOT / "CHANGELOG.md": "changelog.md",
    ROOT / "CONTRIBUTING.md": "contributing.md",
}
"""Where each page that is written by hand stands in the site."""
ELSEWHERE = {**WRITTEN, ROOT / "README.md": "index.md", ROOT / "proto/subgrpc/v1": "api.md"}
STYLE = """\
/* Cells of tables wrap: the theme would have readers scroll sideways. */
.wy-table-responsive table td, .wy-table-responsive table th { white-space: normal; }
.wy-nav-content { max-width: 1000px; }
"""
_LINK = re.compile(r"\[([^]]+)\]\((?!#|[a-z]+:)([^)#\s]+)(#[^)]*)?\)")


def relinked(text: str, source: Path) -> str:
    """A page with its links to other files of the repository leading to their pages.

    What has no page is named without a link.
    """

    def replace(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        path = Path(os.path.normpath(source.parent / target))
        if not path.exists():
            raise SystemExit(f"{source}: {target} is not there")
        if path in ELSEWHERE:
            return f"[{words}]({ELSEWHERE[path]}{anchor})"
        return found[0] if path.parent == ROOT / "docs" else words

    return _LINK.sub(replace, text)


def stage(folder: Path) -> None:
    """Puts everything that the site is built from into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, name in WRITTEN.items():
        (folder / name).write_text(relinked(path.read_text("utf-8"), path), "utf-8")
    for path in (ROOT / "docs").glob("*.svg"):
        shutil.copyfile(path, folder / path.name)
    for name, text in {**docs_api.pages(), "commands.md": docs_cli.page()}.items():
        (folder / name).write_text(text, "utf-8")
    colours = HtmlFormatter(style="default").get_style_defs(".highlight")
    (folder / "pygments.css").write_text(colours + "\n", "utf-8")
    (folder / "extra.css").write_text(STYLE, "utf-8")


def main() -> int:
    """Builds it; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    out = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").absolute()
    stage(out / "docs")
    try:
        config = load_config(
            str(ROOT / "mkdocs.yml"), docs_dir=str(out / "docs"), site_dir=str(out / "site")
        )
        build(config)
    except MkDocsException as error:
        print(f"make docs: {error}", file=sys.stderr)
        return 1
    print(out / "site" / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
