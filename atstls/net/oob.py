# -*- test-case-name: tests.test_oob -*-
"""
L{OutOfBand}: urgent data of TCP, on its way.

It goes past the write VIO, straight to the kernel, and so stands in the stream before all that is still in a buffer
here.  It is rare, so a kernel that does not take it is asked again after a moment, and nobody watches for it.

Source: behaviour 1.5, N038; ATS C{UnixNetVConnection.cc}, C{OOB_callback}.
"""

import errno
import socket
from collections.abc import Callable
from typing import Any, Final

from atstls.events import VC_EVENT_EOS, VC_EVENT_OOB_COMPLETE
from atstls.eventsystem.continuation import Action
from atstls.interfaces import IContinuation

OOB_RETRY_SECONDS: Final = 0.05


class OutOfBand(Action):
    """
    Bytes of which the last is urgent.  To cancel it leaves what is out already.
    """

    def __init__(
        self,
        vc: Any,
        cont: IContinuation,
        data: bytes,
        tell: Callable[["OutOfBand", IContinuation, int], None],
    ) -> None:
        """
        @param tell: called once, with C{cont} and OOB_COMPLETE or EOS.
        """
        super().__init__(cont, self._stop)
        self._vc = vc
        self._data = data
        self._tell = tell
        self._call = vc.nh.reactor.callLater(0, self._send)

    def _stop(self) -> None:
        if self._call.active():
            self._call.cancel()

    def _send(self) -> None:
        vc = self._vc
        if vc.closed:
            return
        try:
            sent = vc.socket.send(self._data, socket.MSG_OOB)
        except OSError as exc:
            if not isinstance(exc, BlockingIOError) and exc.errno != errno.ENOTCONN:
                vc.lerrno = exc.errno or errno.EIO
                self._over(VC_EVENT_EOS)
                return
        else:
            vc.last_activity = vc.nh.seconds()
            self._data = self._data[sent:]
            if not self._data:
                self._over(VC_EVENT_OOB_COMPLETE)
                return
        self._call = vc.nh.reactor.callLater(OOB_RETRY_SECONDS, self._send)

    def _over(self, event: int) -> None:
        cont, self.continuation = self.continuation, None
        self.settled()
        assert cont is not None
        self._tell(self, cont, event)
