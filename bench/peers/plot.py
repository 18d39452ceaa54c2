"""The medians as bars, one panel a work, on a logarithmic scale (a fiftieth of a bar would not be seen)."""

import math
from html import escape

from bench.peers.table import OURS, ROWS, Results, Row

SHOWN = {("w1", "ms"), ("w2", "per_s"), ("w3", "p50_ms"), ("w4-large", "s"), ("w5", "at_5000"), ("w6", "first_s")}

WIDTH, LEFT, RIGHT = 760, 130, 90
BAR, GAP, HEAD = 16, 5, 34


def draw(results: Results) -> str:
    """An SVG document, readable on a light and on a dark page."""
    panels, y = [], 10
    for row in ROWS:
        if (row.work, row.measure) in SHOWN:
            panel, height = _panel(row, results, y)
            panels.append(panel)
            y += height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" '
        f'font-family="sans-serif" font-size="12"><rect width="{WIDTH}" height="{y}" fill="#ffffff"/>'
        f"{''.join(panels)}</svg>\n"
    )


def _panel(row: Row, results: Results, y: int) -> tuple[str, int]:
    values = {peer: results.median(peer, row.work, row.measure) for peer in results.peers}
    known = [value for value in values.values() if value]
    if not known:
        return "", 0
    least, greatest = 10 ** math.floor(math.log10(min(known)) - 0.3), max(known)
    better = "more is better" if row.is_rate else "less is better"
    parts = [f'<text x="10" y="{y + 18}" font-weight="bold">{escape(row.title)} ({better}, log scale)</text>']
    top = y + HEAD - 6
    for peer, value in values.items():
        parts.append(f'<text x="{LEFT - 8}" y="{top + 12}" text-anchor="end">{escape(peer)}</text>')
        text, length = "not measured", 0.0
        if value:
            length = (WIDTH - LEFT - RIGHT) * math.log(value / least) / math.log(greatest / least)
            text = row.form.format(value) + (" *" if (peer, row.work) in results.scaled else "")
        colour = "#1a6fb5" if peer == OURS else "#9aa5b1"
        parts.append(f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{top + 12}">{text}</text>')
        top += BAR + GAP
    return "".join(parts), top - y + 10
