"""
How the documents are built: C{sphinx-build -W docs docs/_build/html}.

What is made from the code each time cannot say something else than it does: the reference of the configuration, the
drawing and the table of a connection's moves, the table of what is counted, and the features with the tests that prove
them.  The API reference is made by pydoctor.
"""

import importlib
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
GENERATED = DOCS / "_build" / "generated"

sys.path.insert(0, str(ROOT))
package = importlib.import_module("atstls")
phases = importlib.import_module("atstls.tls.phases")
reference = importlib.import_module("atstls.edge.reference")
statistics = importlib.import_module("atstls.statistics")
features_pages = importlib.import_module("docs.features_pages")

project = "atstls"
author = "the atstls developers"
project_copyright = "the atstls developers"
version = release = package.__version__

# pydoctor's extension reads the settings of intersphinx; no other project's pages are looked up.
extensions = ["sphinx.ext.intersphinx", "pydoctor.sphinx_ext.build_apidocs"]
intersphinx_mapping: dict[str, tuple[str, None]] = {}
exclude_patterns = ["_build", "newsfragments"]
default_role = "any"
nitpicky = True
html_theme = "alabaster"
html_theme_options = {
    "description": "A TLS edge for Twisted",
    "fixed_sidebar": True,
    "page_width": "1080px",
    "body_max_width": "60em",
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
html_copy_source = False

# The rest of its settings stand in pyproject.toml, so that `pydoctor` alone does the same.
pydoctor_args = ["--html-output={outdir}/api", f"--project-version={release}"]
pydoctor_url_path = "api/"


def moves_table() -> str:
    """Every legal move, one row a phase, in the order of the enum."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 15 30 55", ""]
    lines += ["   * - phase", "     - move", "     - next phase"]
    for phase in phases.Phase:
        moves = [(move, after) for (before, move), after in phases.MOVES.items() if before is phase]
        for number, (move, after) in enumerate(moves):
            lines.append(f"   * - {f'**{phase.value}**' if number == 0 else ''}")
            lines.append(f"     - {move.value}")
            lines.append(f"     - {after.value}")
    return "\n".join(lines) + "\n"


def moves_drawing() -> str:
    """
    The same as a drawing: the phases from top to bottom, the way on between them, and at the right the other ways.

    What leads from many phases to the same one stands once, at the end.
    """
    order = list(phases.Phase)
    common: dict[object, list[object]] = {}
    for (before, move), after in phases.MOVES.items():
        common.setdefault((move, after), []).append(before)
    often = {pair for pair, befores in common.items() if len(befores) > len(order) // 2}
    lines = []
    drawn = [phase for phase in order if phase not in {after for _, after in often}]
    for phase, below in zip(drawn, [*drawn[1:], None], strict=True):
        moves = [(move, after) for (before, move), after in phases.MOVES.items() if before is phase]
        moves = [pair for pair in moves if pair not in often]
        down = [move.value for move, after in moves if after is below]
        aside = [f"--- {move.value} --> [ {after.value} ]" for move, after in moves if after is not below]
        box = f"[ {phase.value} ]".ljust(15)
        lines.append(f"{box}{aside[0] if aside else ''}".rstrip())
        bar = "|" if down else " "
        lines.extend(f"    {bar}".ljust(15) + way for way in aside[1:])
        lines.extend([f"    |  {' or '.join(down)}", "    v"] if down else [""])
    for move, after in sorted(often, key=lambda pair: order.index(pair[1])):
        befores = common[move, after]
        others = [phase.value for phase in order if phase not in befores]
        but = f" but {', '.join(others)}" if others else ""
        lines.append(f"from every phase{but}: --- {move.value} --> [ {after.value} ]")
    return "\n".join(lines) + "\n"


def statistics_table() -> str:
    """All that is counted, one row each."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 45 10 30 15", ""]
    lines += ["   * - name", "     - kind", "     - meaning", "     - counted in"]
    for statistic in statistics.TABLE:
        lines.append(f"   * - ``{statistic.name.removeprefix('proxy.process.')}``")
        lines.append(f"     - {statistic.kind.value}")
        lines.append(f"     - {statistic.meaning}{'  *Not in Traffic Server.*' if statistic.ours else ''}")
        lines.append(f"     - ``{statistic.where}``")
    return "\n".join(lines) + "\n"


GENERATED.mkdir(parents=True, exist_ok=True)
(GENERATED / "moves.txt").write_text(moves_drawing(), encoding="utf-8")
(GENERATED / "moves.rst").write_text(moves_table(), encoding="utf-8")
(GENERATED / "statistics.rst").write_text(statistics_table(), encoding="utf-8")
(GENERATED / "configuration_reference.rst").write_text(reference.reference_rst(), encoding="utf-8")

features_pages.check()
for name, page in (
    ("features_overview", features_pages.overview()),
    ("features", features_pages.sections()),
    ("features_gold", features_pages.gold()),
    ("features_tests", features_pages.proofs()),
):
    (GENERATED / f"{name}.rst").write_text(page, encoding="utf-8")
