An edge can be made in Python: ``TLSEdgeService`` is a service like any other of Twisted's, and where a connection goes
may be said by a callable, a Deferred or a coroutine.
