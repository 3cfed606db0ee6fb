"""
What TLS costs an application on Twisted: the same servers over C{atstls:} endpoints and over Twisted's C{ssl:}.

    python benchmarks/endpoints.py                  all of it, some minutes
    python benchmarks/endpoints.py --work message,messages --rounds 9
    python benchmarks/endpoints.py --rounds 1 --seconds 1 --mib 64 --idle 300
    python benchmarks/endpoints.py --reactor atstls    both on our own reactor

Measured as in edge.py: the CPU time of the server's own process and its memory, the two in turn, the median of all
rounds.  The clients and what they do are the same programs.  Behind the table stands the ratio for each kind of work,
and what it should be at most.
"""

import argparse
import select
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.candidates import SINK, WEB, Door, Lab, Running, free_port, wait_for  # noqa: E402 (see above)
from benchmarks.edge import measure, names, tell  # noqa: E402
from benchmarks.loads import APPLICATION, WORK, Options  # noqa: E402
from benchmarks.report import US, Report  # noqa: E402

PEER = "twisted"

GOALS = {
    "bulk": 0.6,
    "put": 0.6,
    "packets": 0.6,
    "echo": 0.6,
    "message": 0.6,
    "messages": 0.6,
    "conn": 0.7,
    "greet": 0.7,
}
"""What our figure should be of the peer's, at most.  A site's requests have none: most of their time is HTTP's.  Nor
has C{upload}: whoever is faster than the client is woken for each record, and so pays for the client's time."""

_OF_EDGES = ("idle", "bulk", "upload", "page", "conn", "request", "lone")
ENDPOINT_WORK = {name: WORK[name] for name in _OF_EDGES} | APPLICATION


REACTOR = "epoll" if hasattr(select, "epoll") else "default"


def start(kind: str, lab: Lab, reactor: str = REACTOR) -> Running:
    """The three servers, in one process, on a reactor that C{twistd --reactor} knows by that name."""
    doors = {"web": Door(free_port(), WEB), "sink": Door(free_port(), SINK), "echo": Door(free_port(), WEB)}
    ports = [str(door.port) for door in doors.values()]
    program = str(ROOT / "benchmarks" / "servers.py")
    process = lab.spawn(sys.executable, program, kind, reactor, lab.cert, lab.key, str(lab.mib), *ports)
    wait_for(process, *(door.port for door in doors.values()))
    return Running(kind, (process,), doors)


START = {kind: partial(start, kind) for kind in (US, PEER)}


def verdict(report: Report) -> str:
    """A line for each kind of work that has a goal."""
    lines = []
    for row in report.rows():
        ratio, goal = report.ratio(row, PEER), GOALS.get(row)
        if ratio is not None and goal is not None:
            lines.append(f"{row}: {ratio:.2f}, at most {goal:.2f}{'' if ratio <= goal else ': MISSED'}")
    return "\n".join(lines)


def arguments() -> argparse.ArgumentParser:
    """What may be said on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work",
        type=lambda text: names(text, tuple(ENDPOINT_WORK)),
        default=list(ENDPOINT_WORK),
        help=f"of {', '.join(ENDPOINT_WORK)}; all",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often; 5")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="of requests, each time; 3")
    parser.add_argument("--mib", type=int, default=256, metavar="M", help="length of a download or an upload; 256")
    parser.add_argument("--idle", type=int, default=1000, metavar="N", help="silent connections; 1000")
    parser.add_argument("--reactor", default=REACTOR, metavar="NAME", help=f"of both servers, as for twistd; {REACTOR}")
    parser.add_argument("--pure", action="store_true", help="no wrk in front, though it is here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    return parser


def main(argv: list[str] | None = None) -> int:
    """The program; its exit status is 1 when one of the two did not do all of the work."""
    args = arguments().parse_args(argv)
    if not Path("/proc/self/schedstat").exists():
        tell("there is no /proc/PID/schedstat here")
        return 1
    options = Options(seconds=args.seconds, mib=args.mib, idle=args.idle, pure=args.pure)
    starts = {kind: partial(start, reactor=args.reactor) for kind, start in START.items()}
    report = measure(args.work, [PEER], args.rounds, options, starts, ENDPOINT_WORK)
    print(report.table())
    print(f"\nof {PEER}'s CPU time:\n{verdict(report)}")
    if args.json is not None:
        args.json.write_text(report.to_json(), encoding="utf-8")
    done = [{row for row, by_kind in report.figures.items() if kind in by_kind} for kind in START]
    return 0 if all(rows >= set(args.work) for rows in done) else 1


if __name__ == "__main__":
    sys.exit(main())
