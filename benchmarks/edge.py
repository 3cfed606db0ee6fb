"""
What a TLS edge costs: atstls beside the edges that are installed here, doing the same work.

    python benchmarks/edge.py                       all that is here, half an hour or so
    python benchmarks/edge.py --work request,lone --peers nginx --rounds 3
    python benchmarks/edge.py --peers none          atstls alone; needs nothing but Python
    python benchmarks/edge.py --work crowd          ten thousand silent connections
    python benchmarks/edge.py --readme --json run.json --chart run.svg
    python benchmarks/edge.py --from run.json --readme

Measured is the CPU time of the edge's own processes (/proc/PID/task/*/schedstat) and its memory (Pss, from
smaps_rollup), which hold on a busy machine where a throughput does not.  The edges work in turn, in each round in the
reverse order of the round before, and what is told is the median of all rounds with the smallest and the largest.  A
figure of another run is another figure: compare within one.  Needs Linux.
"""

import argparse
import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.candidates import PEERS, START, CannotStart, Lab, Running, descriptors, version  # noqa: E402 (see above)
from benchmarks.loads import FRESH, WORK, Options, Unfit, Work  # noqa: E402
from benchmarks.report import US, Report, host, into_readme, today, versions  # noqa: E402

README = ROOT / "README.md"

Start = Callable[[Lab], Running]

USUAL = tuple(name for name in WORK if name != "crowd")
"""What is done unless asked otherwise; a crowd takes a minute for each edge."""


def tell(words: str) -> None:
    """Say how it goes, beside the table."""
    print(f"# {words}", file=sys.stderr, flush=True)


def measure(
    works: list[str],
    peers: list[str],
    rounds: int,
    options: Options,
    start: Mapping[str, Start] = START,
    known: Mapping[str, Work] = WORK,
) -> Report:
    """
    All C{works} on atstls and on C{peers}, in turn, C{rounds} times.

    What cannot be started or done is told and left out.

    @param start: how each is started, by name.
    @param known: how each kind of work is done.
    """
    more_descriptors()
    lab = Lab(options.mib, options.pure)
    try:
        candidates = list(startable(lab, [US, *peers], start))
        numbers = {name: version(name) for name in candidates if name != US}
        how = f"medians of {rounds} rounds" if rounds > 1 else "one round"
        report = Report(today(), host(), how, versions() | {name: number for name, number in numbers.items() if number})
        lasting: dict[str, Running] = {}
        for work in sorted(works, key=lambda name: name not in FRESH):
            for turn in range(rounds):
                for name in candidates if turn % 2 == 0 else reversed(candidates):
                    tell(f"{work}, round {turn + 1}: {name}")
                    try:
                        with fresh(lab, start[name]) if work in FRESH else kept(lab, name, start, lasting) as edge:
                            for row, figure in known[work](edge, options).items():
                                report.add(row, name, figure)
                    except (Unfit, CannotStart, OSError) as exc:
                        tell(f"{name}, {work}: {exc}")
        return report
    finally:
        lab.close()


def startable(lab: Lab, names: list[str], start: Mapping[str, Start]) -> Iterator[str]:
    """Those that come up here."""
    for name in names:
        try:
            start[name](lab).stop()
        except (CannotStart, OSError) as exc:
            tell(f"{name} is left out: {exc}")
        else:
            yield name


@contextlib.contextmanager
def fresh(lab: Lab, start: Start) -> Iterator[Running]:
    """A process of its own for this one measurement."""
    edge = start(lab)
    try:
        time.sleep(1)
        yield edge
    finally:
        edge.stop()


@contextlib.contextmanager
def kept(lab: Lab, name: str, start: Mapping[str, Start], lasting: dict[str, Running]) -> Iterator[Running]:
    """The process that does all of the work that is left."""
    edge = lasting.get(name)
    if edge is None:
        edge = lasting[name] = start[name](lab)
        time.sleep(1)
    yield edge


def more_descriptors() -> None:
    """As many as the system lets us have, for us and for those that we start."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 30000
    if most != resource.RLIM_INFINITY and most < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return
        wanted = most
    if descriptors() < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def names(text: str, allowed: tuple[str, ...]) -> list[str]:
    """A list with commas."""
    found = [word for word in text.replace(" ", "").split(",") if word and word != "none"]
    unknown = [word for word in found if word not in allowed]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(allowed)}")
    return found


def arguments() -> argparse.ArgumentParser:
    """What may be said on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work",
        type=lambda text: names(text, tuple(WORK)),
        default=list(USUAL),
        help=f"of {', '.join(WORK)}; all but crowd",
    )
    parser.add_argument(
        "--peers",
        type=lambda text: names(text, PEERS),
        default=list(PEERS),
        help=f"of {', '.join(PEERS)}, or none; all that are installed",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often; 5")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of requests, each time; 4")
    parser.add_argument("--mib", type=int, default=1024, metavar="M", help="length of a download or an upload; 1024")
    parser.add_argument("--idle", type=int, default=1500, metavar="N", help="silent connections; 1500")
    parser.add_argument("--crowd", type=int, default=10000, metavar="N", help="many silent connections; 10000")
    parser.add_argument("--pure", action="store_true", help="no nginx behind, no wrk in front, though they are here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw them")
    parser.add_argument("--readme", action="store_true", help="put them into the table of README.md")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="measure nothing: take that JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """The program; its exit status is 1 when atstls did not do all of the work."""
    args = arguments().parse_args(argv)
    if args.source is not None:
        report = Report.from_json(args.source.read_text(encoding="utf-8"))
    elif not Path("/proc/self/schedstat").exists():
        tell("there is no /proc/PID/schedstat here")
        return 1
    else:
        options = Options(seconds=args.seconds, mib=args.mib, idle=args.idle, crowd=args.crowd, pure=args.pure)
        report = measure(args.work, args.peers, args.rounds, options)
    print(report.table())
    if args.json is not None:
        args.json.write_text(report.to_json(), encoding="utf-8")
    if args.chart is not None:
        args.chart.write_text(report.svg(), encoding="utf-8")
    if args.readme:
        README.write_text(into_readme(README.read_text(encoding="utf-8"), report.markdown()), encoding="utf-8")
    done = {row.split(" ")[0] for row, by_edge in report.figures.items() if US in by_edge}
    return 0 if args.source is not None or done >= set(args.work) else 1


if __name__ == "__main__":
    sys.exit(main())
