"""Markdown as one self-contained HTML page: its pictures are in it, and it asks nothing of a network."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML

_TYPES = {".svg": "image/svg+xml", ".jpeg": "image/jpeg"}
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1e21; background: #fff; margin: 0 auto; max-width: 1180px;
  padding: 0 20px 60px; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; margin: 1.4em 0 .3em; } h2 { font-size: 1.3rem; margin: 2em 0 .4em;
  border-bottom: 1px solid #dde1e6; padding-bottom: .2em; } h3 { font-size: 1.05rem; margin: 1.6em 0 .3em; }
p, ul { max-width: 46rem; } li { margin: .2em 0; }
.table { overflow-x: auto; margin: 1em 0; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; line-height: 1.35; }
th, td { padding: .32em .6em; text-align: left; vertical-align: top; border-bottom: 1px solid #e7eaee; }
th { border-bottom: 2px solid #c5cbd3; } tbody tr:hover { background: #f5f7fa; }
td[style*=left] { min-width: 8rem; } td[style*=right] { white-space: nowrap; } th { vertical-align: bottom; }
img { max-width: 100%; height: auto; display: block; }
.frames { display: grid; gap: 14px 10px; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); }
.frames p { margin: 0; font-size: .84rem; }
details { margin: .25em 0; } summary { cursor: pointer; font-variant-numeric: tabular-nums; }
code { font-size: .9em; background: #f2f4f7; padding: .1em .3em; border-radius: 3px; }
pre { overflow-x: auto; font-size: .8rem; line-height: 1.3; } pre code { background: none; padding: 0; }
@media (max-width: 600px) { body { font-size: 15px; padding: 0 12px 40px; } }
"""


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], text: int = 1) -> str:
    """A Markdown table; the first `text` columns are words, the others figures. None is an empty cell."""
    marks = [":--" if number < text else "--:" for number in range(len(columns))]
    lines = [columns, marks, *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return "" if value is None else escape(str(value), quote=False).replace("|", "\\|").replace("\n", " ")


def folded(title: str, markdown: str, opened: bool = False) -> str:
    """Markdown that a click on its title unfolds."""
    return f"<details{' open' * opened}><summary>{escape(title)}</summary>\n\n{markdown}\n\n</details>"


def plain(value: float | None, digits: int = 3) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def to_html(markdown: str, title: str, folder: Path) -> str:
    """The page; pictures are read from `folder`, to which their places in the Markdown are relative."""
    reader = MarkdownIt("commonmark", {"html": True}, renderer_cls=_Renderer).enable("table")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"{reader.render(markdown, {'folder': folder})}</body>\n</html>\n"
    )


class _Renderer(RendererHTML):
    """Tables that scroll in themselves where a page is too narrow, and pictures that are part of the page."""

    def table_open(self, tokens: Any, index: int, options: Any, env: Any) -> str:
        return '<div class="table">' + self.renderToken(tokens, index, options, env)

    def table_close(self, tokens: Any, index: int, options: Any, env: Any) -> str:
        return self.renderToken(tokens, index, options, env) + "</div>\n"

    def image(self, tokens: Any, index: int, options: Any, env: Any) -> str:
        path = env["folder"] / tokens[index].attrs["src"]
        inside = base64.b64encode(path.read_bytes()).decode()
        tokens[index].attrSet("src", f"data:{_TYPES[path.suffix]};base64,{inside}")
        return super().image(tokens, index, options, env)
