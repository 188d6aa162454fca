"""The page: one HTML file that needs no network, with its data, script and style inside.

All texts are there without a script; the script draws the figures and sorts the tables. The data of
the figures travels as JSON in which no character can end the element. A content security policy lets
run and load nothing but the page's own script and style, known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from string import Template
from typing import Final

from joulecut.benchmarks.records import Comparison
from joulecut.hw_models.profile import EnergyProfile
from joulecut.pruning.records import PruneRecord
from joulecut.reports.markup import Markup, tag
from joulecut.reports.sections import Report, report_of
from joulecut.reports.view import Cell, Column, Fact, Section, Table

__all__ = ["embed", "render"]

_BEFORE_UNIT: Final = re.compile(r"(?<=\d) (?=%|[fpnµmkMGT]?[JsBW]\b)")


def render(record: EnergyProfile | PruneRecord | Comparison) -> str:
    """One self-contained page about a record.

    Args:
        record: a profile, a pruning run or a benchmark.

    Returns:
        The whole HTML file as text.

    Raises:
        ValueError: a figure to be drawn is not finite (no saved record holds one).

    >>> page = render(Comparison((), (), {"seed": "<0>"}))
    >>> "&lt;0&gt;" in page and "<0>" not in page
    True
    """
    report = report_of(record)
    script, style = _asset("report.js"), _asset("report.css")
    return Template(_asset("template.html")).substitute(
        policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'",
        title=html.escape(f"{report.title}, {report.kind}"),
        style=style,
        script=script,
        header=_header(report).text,
        nav="".join(tag("a", section.title, href=f"#{section.key}").text for section in report.sections),
        main="".join(_section(section).text for section in report.sections),
        data=embed(report.figures),
    )


def embed(value: object) -> str:
    r"""JSON that is safe inside a script element: no ``<``, ``>``, ``&`` or line separator is left.

    >>> embed({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _asset(name: str) -> str:
    return files("joulecut.reports").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """The source expression of an inline element (CSP level 3, section 6.7)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _header(report: Report) -> Markup:
    facts = (_fact(fact) for fact in report.facts)
    return tag(
        "header",
        tag("p", f"joulecut {report.kind}", class_="kind"),
        tag("h1", report.title),
        tag("p", report.about, class_="about"),
        tag("dl", *facts, class_="facts"),
    )


def _fact(fact: Fact) -> Markup:
    detail = (tag("dd", _together(fact.detail), class_="detail"),) if fact.detail else ()
    return tag("div", tag("dt", fact.label), tag("dd", _together(fact.value), class_=fact.tone), *detail)


def _together(text: str) -> str:
    """The text with no line break between a number and its unit."""
    return _BEFORE_UNIT.sub("\u00a0", text)


def _section(section: Section) -> Markup:
    lead = (tag("p", section.lead, class_="lead"),) if section.lead else ()
    figure = (tag("figure", data_figure=section.figure),) if section.figure else ()
    tables = tag("div", *map(_table, section.tables), class_="tables", data_choice=section.choice)
    if section.folded:
        tables = tag("details", tag("summary", "Show all"), tables)
    heading = tag("h2", section.title, id=f"{section.key}-h")
    return tag("section", heading, *lead, *figure, tables, id=section.key, aria_labelledby=f"{section.key}-h")


def _table(table: Table) -> Markup:
    heads = (tag("th", column.head, scope="col", class_=_kind(column)) for column in table.columns)
    rows = (_row(table.columns, row) for row in table.rows)
    grid = tag(
        "table",
        tag("caption", table.caption),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *rows),
        id=table.key,
    )
    return tag("div", grid, class_="scroll", tabindex="0", role="region", aria_label=table.caption)


def _row(columns: tuple[Column, ...], row: tuple[Cell, ...]) -> Markup:
    first = tag("th", row[0].text, scope="row", title=row[0].whole, data_v=_order(row[0]))
    others = (
        tag(
            "td",
            _folded(cell),
            class_=_kind(column),
            title=cell.whole,
            data_v=_order(cell),
            data_bar=_bar(column, cell),
        )
        for column, cell in zip(columns[1:], row[1:], strict=True)
    )
    return tag("tr", first, *others)


def _folded(cell: Cell) -> Markup | str:
    """The text of a cell, with its further lines below it where there are any."""
    if not cell.more:
        return cell.text
    lines = tag("ul", *(tag("li", _together(line)) for line in cell.more))
    return tag("details", tag("summary", cell.text), lines)


def _kind(column: Column) -> str:
    return "n bar" if column.full else "n" if column.numeric else ""


def _bar(column: Column, cell: Cell) -> str:
    """How long the bar of a cell is, in percent of the cell."""
    if not column.full or cell.order is None:
        return ""
    return f"{100 * min(max(cell.order / column.full, 0.0), 1.0):.3g}"


def _order(cell: Cell) -> str:
    return "" if cell.order is None else f"{cell.order:.6g}"
