"""
A state machine on VIOs: messages with their length before them, each answered by itself in reverse.

    twistd -noy lengths.py

A message is two bytes with its length, the higher one first, and then so many bytes.  Two states: reading a length,
reading a body.  Each asks for exactly the bytes that it needs, and is told when they are there.
"""

from twisted.application.service import Application
from twisted.internet import reactor

from atstls.edge.service import TLSEdgeService
from atstls.endpoints import ServerTLS
from atstls.events import (
    EVENT_CONT,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_READ_READY,
    VC_EVENT_WRITE_COMPLETE,
    VC_EVENT_WRITE_READY,
)
from atstls.eventsystem.continuation import Continuation
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.tls.certificates import self_signed


class Reverse(Continuation):
    """One connection: it changes its state by changing its handler."""

    def __init__(self, vc):
        super().__init__(self.length_read)
        self.vc = vc
        self.question, self.answer = MIOBuffer(), MIOBuffer()
        self.asked = self.question.alloc_reader()
        self.answered = self.answer.alloc_reader()
        vc.set_inactivity_timeout(60)
        vc.do_io_read(self, 2, self.question)

    def length_read(self, event, vio):
        if event != VC_EVENT_READ_COMPLETE:
            return self.otherwise(event, vio)
        length = int.from_bytes(self.asked.read(), "big")
        self.handler = self.body_read
        # A read of no bytes would ask for nothing, and nothing would be told.
        if length == 0:
            return self.body_read(event, vio)
        self.vc.do_io_read(self, length, self.question)
        return EVENT_CONT

    def body_read(self, event, vio):
        if event != VC_EVENT_READ_COMPLETE:
            return self.otherwise(event, vio)
        body = self.asked.read()[::-1]
        self.answer.write(len(body).to_bytes(2, "big") + body)
        self.handler = self.answer_written
        # The next question is read when the answer has gone: a client that takes no answers can ask no more.
        self.vc.do_io_write(self, self.answered.avail, self.answered)
        return EVENT_CONT

    def answer_written(self, event, vio):
        if event != VC_EVENT_WRITE_COMPLETE:
            return self.otherwise(event, vio)
        self.handler = self.length_read
        self.vc.do_io_read(self, 2, self.question)
        return EVENT_CONT

    def otherwise(self, event, vio):
        """Something else than what the state waits for: a part of it, or the end, an error, a minute without a byte."""
        if event not in (VC_EVENT_READ_READY, VC_EVENT_WRITE_READY):
            self.vc.do_io_close()
        return EVENT_CONT


def accepted(event, vc):
    """NET_EVENT_ACCEPT: the handshake is done, and the connection is ours."""
    Reverse(vc)
    return EVENT_CONT


edge = TLSEdgeService(reactor)
edge.listen("lengths", ServerTLS([self_signed(["localhost"])]), Continuation(accepted), port=8443)

application = Application("lengths")
edge.setServiceParent(application)
