"""A page of one file: HTML with its style, its script and its pictures inside."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from PIL import Image

_STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{font:16px/1.45 system-ui,sans-serif;color:#222;background:#fff;margin:0 auto;max-width:1000px;
padding:0 14px 60px;overflow-wrap:break-word}
h1{font-size:1.5rem}h2{font-size:1.25rem;border-top:1px solid #ccc;padding-top:18px;margin-top:34px}
h3{font-size:1.05rem}
nav a{display:inline-block;margin:0 12px 6px 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;margin:8px 0}
th,td{padding:4px 9px;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.text{text-align:left}td.text{white-space:normal;min-width:9em}
th{background:#f3f3f3}
table.sortable th{cursor:pointer}
th[aria-sort=ascending]::after{content:" \\25B2"}th[aria-sort=descending]::after{content:" \\25BC"}
svg{width:100%;max-width:720px;height:auto;display:block}svg text{font-size:13px;fill:#444}
.charts{display:grid;
grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:8px 18px}
.axis{margin:12px 0 0;font-size:.85rem;color:#444}
.legend{font-size:.85rem;margin:2px 0 8px}.legend span{margin-right:14px;white-space:nowrap}
.legend i{display:inline-block;width:18px;height:4px;vertical-align:middle;margin-right:5px}
.missing{background:#fff4d6;border-left:4px solid #d9a400;padding:7px 10px}
.note{color:#555;font-size:.9rem}
figure{margin:14px 0}figure img{max-width:100%;height:auto;display:block}
figcaption{font-size:.85rem;color:#444}
pre{background:#f6f6f6;padding:8px;overflow-x:auto;font-size:.8rem;white-space:pre;overflow-wrap:normal}
ul.plain{padding-left:18px}ul.plain li{overflow-wrap:anywhere}
@media(max-width:500px){svg text{font-size:17px}}
"""
_SCRIPT = """
for(const table of document.querySelectorAll('table.sortable')){
 const heads=[...table.tHead.rows[0].cells];
 heads.forEach((head,column)=>{head.tabIndex=0;const sort=()=>{
  const down=head.getAttribute('aria-sort')!=='descending';
  heads.forEach(other=>other.removeAttribute('aria-sort'));
  head.setAttribute('aria-sort',down?'descending':'ascending');
  const key=row=>row.cells[column].dataset.value??row.cells[column].textContent;
  const rows=[...table.tBodies[0].rows];
  rows.sort((a,b)=>{const x=key(a),y=key(b),p=parseFloat(x),q=parseFloat(y);
   const order=isNaN(p)&&isNaN(q)?x.localeCompare(y):isNaN(p)?-1:isNaN(q)?1:p-q;
   return down?-order:order});
  table.tBodies[0].append(...rows)};
  head.addEventListener('click',sort);
  head.addEventListener('keydown',event=>{if(event.key==='Enter')sort()})})}
"""


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        anchor: Of the link to it.
        title: Plain text.
        body: HTML.
    """

    anchor: str
    title: str
    body: str


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """Put sections together, with links to them at the top.

    Args:
        title: Plain text.
        lead: HTML below the title.
        sections: In their order.
    """
    links = ''.join(f'<a href="#{each.anchor}">{escape(each.title)}</a>' for each in sections)
    bodies = ''.join(
        f'<section id="{each.anchor}"><h2>{escape(each.title)}</h2>{each.body}</section>'
        for each in sections
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(title)}</title><style>{_STYLE}</style></head><body>'
        f'<h1>{escape(title)}</h1>{lead}<nav>{links}</nav>{bodies}'
        f'<script>{_SCRIPT}</script></body></html>\n'
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], digits: int = 3) -> str:
    """Write a table that a click on a head sorts.

    Args:
        heads: Plain text.
        rows: Of numbers and plain text; None and nan are shown as a dash.
        digits: Behind the point, of floats.
    """
    rows = list(rows)
    texts = [isinstance(each, str) for each in rows[0]] if rows else [False] * len(heads)
    head = ''.join(
        f'<th scope="col"{" class=text" if text else ""}>{escape(each)}</th>'
        for each, text in zip(heads, texts, strict=True)
    )
    body = ''.join(f'<tr>{"".join(_cell(each, digits) for each in row)}</tr>' for row in rows)
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div>'
    )


def _cell(value: object, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return '<td data-value="">-</td>'
    if isinstance(value, float):
        return f'<td data-value="{value!r}">{value:.{digits}f}</td>'
    if isinstance(value, int):
        return f'<td data-value="{value}">{value}</td>'
    return f'<td class="text">{escape(str(value))}</td>'


def matrix(names: Sequence[str], counts: np.ndarray, corner: str) -> str:
    """Write a square table whose cells are the darker the larger their share of the row.

    Args:
        names: Of rows and columns.
        counts: int [len(names), len(names)].
        corner: Says what rows and columns are.
    """
    head = ''.join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = []
    for name, row in zip(names, counts.tolist(), strict=True):
        total = sum(row) or 1
        cells = ''.join(
            f'<td style="background:rgba(31,119,180,{0.75 * count / total:.2f})">{count}</td>'
            for count in row
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr><th>{escape(corner)}</th>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>'
    )


def picture(image: np.ndarray, caption: str, widest: int = 960) -> str:
    """Write a uint8 [h, w, 3] RGB picture with a caption of plain text."""
    canvas = Image.fromarray(image)
    if canvas.width > widest:
        canvas = canvas.resize((widest, round(canvas.height * widest / canvas.width)))
    file = io.BytesIO()
    canvas.save(file, 'JPEG', quality=82)
    data = base64.b64encode(file.getvalue()).decode('ascii')
    text = escape(caption)
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" width="{canvas.width}" '
        f'height="{canvas.height}" alt="{text}"><figcaption>{text}</figcaption></figure>'
    )


def missing(sentence: str) -> str:
    """Say in plain text that something cannot be shown, and why."""
    return f'<p class="missing">{escape(sentence)}</p>'


def note(sentence: str) -> str:
    """Write a remark of plain text."""
    return f'<p class="note">{escape(sentence)}</p>'


def bullets(texts: Sequence[str]) -> str:
    """A list of sentences."""
    items = ''.join(f'<li>{escape(text)}</li>' for text in texts)
    return f'<ul class="plain">{items}</ul>'
