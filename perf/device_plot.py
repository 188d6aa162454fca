"""A plot of predicted against published joules, drawn as SVG by a few lines of our own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from joulecut.units import format_quantity

__all__ = ["validation_svg"]

_SIZE: Final = 360
_EDGE: Final = 44


def validation_svg(title: str, pairs: Sequence[tuple[str, float, float]], factor_90: float) -> str:
    """Both axes logarithmic; the line is perfect agreement, the band the device's 90 % interval.

    Args:
        title: what a screen reader says.
        pairs: name of a network, published and predicted joules.
        factor_90: the interval is predicted x/÷ this factor.
    """
    joules = [value for _, *both in pairs for value in both]
    low, high = math.log10(min(joules)) - 0.15, math.log10(max(joules)) + 0.15
    band = math.log10(factor_90)

    def at(value: float) -> float:
        return _EDGE + (_SIZE - 2 * _EDGE) * (value - low) / (high - low)

    def line(shift: float, style: str) -> str:
        start, end = max(low, low - shift), min(high, high - shift)
        x1, y1, x2, y2 = at(start), _SIZE - at(start + shift), at(end), _SIZE - at(end + shift)
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'

    dots = [
        f'<circle cx="{at(math.log10(published)):.1f}" cy="{_SIZE - at(math.log10(predicted)):.1f}" r="3.5" '
        f'fill="#2a78d6" fill-opacity="0.7"><title>{name}: {format_quantity(published, "J")} published, '
        f"{format_quantity(predicted, 'J')} predicted</title></circle>"
        for name, published, predicted in pairs
    ]
    ends = [(value, format_quantity(10**value, "J", 2)) for value in (low + 0.15, high - 0.15)]
    words = [
        *(f'<text x="{at(v):.1f}" y="{_SIZE - 26}" text-anchor="middle">{text}</text>' for v, text in ends),
        *(
            f'<text x="{_EDGE - 4}" y="{_SIZE - at(v):.1f}" text-anchor="end">{text}</text>'
            for v, text in ends
        ),
        f'<text x="{_SIZE / 2}" y="{_SIZE - 8}" text-anchor="middle">published</text>',
        f'<text transform="translate(12 {_SIZE / 2}) rotate(-90)" text-anchor="middle">predicted</text>',
    ]
    inner = _SIZE - 2 * _EDGE
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE} {_SIZE}" width="{_SIZE}" '
        f'height="{_SIZE}" role="img" font-family="sans-serif" font-size="10" fill="#777">',
        f"<title>{title}</title>",
        f'<rect x="{_EDGE}" y="{_EDGE}" width="{inner}" height="{inner}" fill="none" stroke="#999"/>',
        line(0.0, 'stroke="#777"'),
        *(line(shift, 'stroke="#999" stroke-dasharray="4 3"') for shift in (band, -band)),
        *dots,
        *words,
        "</svg>",
    ]) + "\n"  # fmt: skip
