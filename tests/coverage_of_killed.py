"""
A plugin for coverage: a process that ends itself with a signal writes down first what it ran.

twistd, told to stop, shuts down in order and then sends the same signal to itself, so that its parent sees how it ended
(C{twisted.application.app._exitWithSignal}).  No C{atexit} function runs after that, and coverage's own C{sigterm}
handler was replaced by Twisted's long before.  So C{os.kill} is wrapped, in processes that are measured only.
Named in C{pyproject.toml}, C{[tool.coverage.run] plugins}.
"""

import functools
import os

import coverage


def coverage_init(registry: object, options: object) -> None:
    """Called by coverage as it starts, in each process."""
    kill = os.kill

    @functools.wraps(kill)
    def save_and_kill(pid: int, signal_number: int) -> None:
        current = coverage.Coverage.current()
        if pid == os.getpid() and signal_number != 0 and current is not None:
            current.save()
        kill(pid, signal_number)

    os.kill = save_and_kill
