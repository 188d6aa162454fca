"""HTML as values: every string is escaped unless it was made here."""

from __future__ import annotations

import html
from dataclasses import dataclass

__all__ = ["Markup", "tag"]

_VOID = frozenset({"col", "meta", "br"})


@dataclass(frozen=True, slots=True)
class Markup:
    """A piece of HTML that is safe to put into a page."""

    text: str


def tag(name: str, *children: Markup | str, **attributes: str | bool) -> Markup:
    """An element; children that are plain strings are escaped, and so are attributes.

    Args:
        name: the element.
        children: elements and texts.
        attributes: by name; ``_`` becomes ``-`` and a trailing one is dropped (``class_``). True is
            an attribute without a value, False and "" leave it out.

    >>> tag("td", "<b>", class_="n", data_v="1").text
    '<td class="n" data-v="1">&lt;b&gt;</td>'
    """
    parts = [name]
    for key, content in attributes.items():
        label = key.rstrip("_").replace("_", "-")
        if content is True:
            parts.append(label)
        elif content:
            parts.append(f'{label}="{html.escape(content)}"')
    inner = "".join(child.text if isinstance(child, Markup) else html.escape(child) for child in children)
    end = "" if name in _VOID else f"</{name}>"
    return Markup(f"<{' '.join(parts)}>{inner}{end}")
