"""
What a run has found, and its forms: JSON, a table for the terminal, one for the README, a chart.
"""

import json
import os
import platform
import re
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

from cryptography.hazmat.backends.openssl import backend

from benchmarks.loads import UNITS, WORDS

US = "atstls"
BEGIN, END = "<!-- cost table -->\n", "<!-- end -->"

COLOURS = {
    "atstls": "#c0392b",
    "nginx": "#27ae60",
    "haproxy": "#2980b9",
    "hitch": "#8e44ad",
    "trafficserver": "#d68910",
    "twisted": "#7f8c8d",
    "asyncio": "#34495e",
}


@dataclass
class Report:
    """
    One run.

    @ivar versions: of everything that takes part.
    @ivar how: the options, in words.
    @ivar figures: by row (a kind of work, and a number where there are several), by edge, a figure for each round.
    """

    day: str
    host: str
    how: str
    versions: dict[str, str]
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, row: str, edge: str, figure: float) -> None:
        """One round's."""
        self.figures.setdefault(row, {}).setdefault(edge, []).append(figure)

    def edges(self) -> list[str]:
        """Those with a figure; ours is the first."""
        there = {edge for by_edge in self.figures.values() for edge in by_edge}
        return [edge for edge in COLOURS if edge in there]

    def rows(self) -> list[str]:
        """What was measured, in the order of the work."""
        order = list(UNITS)
        return sorted(self.figures, key=lambda row: order.index(kind(row)))

    def median(self, row: str, edge: str) -> float | None:
        """Of all rounds."""
        found = self.figures[row].get(edge)
        return statistics.median(found) if found else None

    def ratio(self, row: str, edge: str) -> float | None:
        """
        Ours to that edge's: the median of what it was in each round, since a machine does not keep its speed from one
        to the next.  (Where one of the two has not done all rounds nothing says which belong together: of the medians.)
        """
        by_edge = self.figures[row]
        mine, theirs = by_edge.get(US), by_edge.get(edge)
        if not mine or not theirs or not all(theirs):
            return None
        if len(mine) != len(theirs):
            return statistics.median(mine) / statistics.median(theirs)
        return statistics.median(ours / other for ours, other in zip(mine, theirs, strict=True))

    # Forms.

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """What L{to_json} gave."""
        found: dict[str, Any] = json.loads(text)
        return cls(**found)

    def circumstances(self) -> str:
        """When, where and of which versions."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.day}, {self.host}; {versions}; {self.how}"

    def table(self) -> str:
        """For the terminal: median, smallest, largest, and our ratio to it."""
        lines = [self.circumstances()]
        for row in self.rows():
            lines += ["", f"{row}: {WORDS[kind(row)]}, {UNITS[kind(row)]}"]
            for edge in self.edges():
                found = self.figures[row].get(edge)
                if not found:
                    continue
                ratio = self.ratio(row, edge)
                times = "" if edge == US or ratio is None else f"  {US} is {ratio:.2f} of it"
                middle = f"{statistics.median(found):10.2f}  ({min(found):.2f} .. {max(found):.2f})"
                lines.append(f"  {edge:14}{middle}{times}")
        return "\n".join(lines)

    def markdown(self) -> str:
        """For the README: our figure, and its ratio to each other edge's."""
        peers = [edge for edge in self.edges() if edge != US]
        heads = ["Work", "Unit", US, *(f"to {peer}" for peer in peers)]
        lines = ["| " + " | ".join(heads) + " |", "|---|---" + "|---:" * (len(heads) - 2) + "|"]
        for row in self.rows():
            mine = self.median(row, US)
            cells = [f"{row}: {WORDS[kind(row)]}", UNITS[kind(row)], "" if mine is None else figure(mine)]
            for peer in peers:
                ratio = self.ratio(row, peer)
                cells.append("" if ratio is None else f"{ratio:.2f}")
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join([*lines, "", f"{self.circumstances()}."]) + "\n"

    def svg(self) -> str:
        """A chart: for each work a bar for each edge, the longest of them as long as there is room."""
        return "\n".join(self._svg()) + "\n"

    def _svg(self) -> Iterator[str]:
        left, width, bar, gap, top = 230, 430, 16, 20, 46
        rows = [(row, [edge for edge in self.edges() if self.median(row, edge) is not None]) for row in self.rows()]
        height = top + sum(len(edges) * bar + gap for _, edges in rows) + 30
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {height}" '
            'font-family="sans-serif" font-size="12" fill="#222">'
        )
        yield f'<rect width="820" height="{height}" fill="#fff"/>'
        yield '<text x="20" y="24" font-size="16">What the same work costs: shorter is better</text>'
        y = top
        for row, edges in rows:
            largest = max(self.median(row, edge) or 0 for edge in edges) or 1
            yield f'<text x="20" y="{y + 12}" font-weight="bold">{escape(row)}</text>'
            yield f'<text x="20" y="{y + 27}" fill="#666">{escape(UNITS[kind(row)])}</text>'
            for edge in edges:
                value = self.median(row, edge) or 0
                length = max(1.0, width * value / largest)
                yield f'<text x="{left - 6}" y="{y + 12}" text-anchor="end">{escape(edge)}</text>'
                yield (
                    f'<rect x="{left}" y="{y + 1}" width="{length:.1f}" height="{bar - 3}" fill="{COLOURS[edge]}">'
                    f"<title>{escape(f'{edge}, {row}: {figure(value)} {UNITS[kind(row)]}')}</title></rect>"
                )
                ratio = self.ratio(row, edge)
                times = "" if edge == US or ratio is None else f"   {US} is {ratio:.2f} of it"
                yield f'<text x="{left + length + 6:.1f}" y="{y + 12}">{figure(value)}{times}</text>'
                y += bar
            y += gap
        yield f'<text x="20" y="{height - 12}" font-size="9" fill="#666">{escape(self.circumstances())}</text>'
        yield "</svg>"


def kind(row: str) -> str:
    """The kind of work that a row is of."""
    return row.split(" ", 1)[0]


def figure(value: float) -> str:
    """With as many digits as mean something."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def into_readme(text: str, table: str) -> str:
    """
    The README with a new table.

    @raise ValueError: it has no place for one.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md holds no {BEGIN.strip()} and {END} behind it")
    return f"{before}{begin}{table}{end}{after}"


def today() -> str:
    """The day."""
    return date.today().isoformat()


def host() -> str:
    """The processor, how many of it, and the system."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE)
        model = " ".join(named[1].split()) if named else ""
    system = ".".join(platform.release().split(".")[:2])
    return f"{len(os.sched_getaffinity(0))} x {model or platform.machine()}, {platform.system()} {system}"


def versions() -> dict[str, str]:
    """Of what atstls runs on."""
    found = {platform.python_implementation(): platform.python_version()}
    for name in ("Twisted", "pyOpenSSL", "cryptography"):
        found[name] = metadata.version(name)
    found["OpenSSL"] = re.sub(r"^OpenSSL ([^ ]+).*", r"\1", backend.openssl_version_text())
    return found
