"""A picture of the CPU that a request costs, as SVG for light and dark pages."""

from html import escape

from dev.bench.measure import OURS, Case, Row

_WIDTH = 760
_LEFT = 150  # where the bars begin
_RIGHT = 90  # for the figures behind the longest bar
_BAR = 20
_TITLE = 44
_LEGEND = f"Microseconds of CPU for each request, the shorter the better (and as a multiple of {OURS}'s)"
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1f2328}"
    ".t{font-weight:600;font-size:13px}.n{text-anchor:end}"
    ".b{fill:#9aa4b0}.o{fill:#1f6feb}"
)


def draw(tables: dict[Case, list[Row]]) -> str:
    """Return a group of bars for each case: microseconds of CPU for each request, ours in blue.

    It has a background of its own, as nobody knows the page's.
    """
    groups = {case: [row for row in found if row.cpu is not None] for case, found in tables.items()}
    longest = max((row.cpu or 0 for found in groups.values() for row in found), default=0) or 1
    parts = []
    y = 16
    for case, found in groups.items():
        parts.append(_text(16, y + 24, f"{case.operation}, {_about(case)}", "t"))
        y += _TITLE - 8
        for row in found:
            parts += _bar(row, y, longest)
            y += _BAR
        y += 12
    parts.append(_text(16, y + 14, _LEGEND))
    height = y + 32
    size = f'width="{_WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {size}>',
            f"<style>{_STYLE}</style>",
            f'<rect {size} rx="6" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _about(case: Case) -> str:
    return str(case).partition(", ")[2]


def _bar(row: Row, y: int, longest: float) -> list[str]:
    assert row.cpu is not None
    width = row.cpu / longest * (_WIDTH - _LEFT - _RIGHT)
    kind = "o" if row.target == OURS else "b"
    ratio = f"  ({row.cpu_ratio:.2f})" if row.cpu_ratio is not None and row.target != OURS else ""
    return [
        _text(_LEFT - 8, y + 14, row.target, "n"),
        f'<rect class="{kind}" x="{_LEFT}" y="{y + 3}" width="{width:.1f}" height="{_BAR - 6}" rx="2"/>',
        _text(round(_LEFT + width + 6), y + 14, f"{row.cpu:,.0f}{ratio}"),
    ]


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{marked}>{escape(text)}</text>'
