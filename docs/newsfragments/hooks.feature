Hooks are asked about a connection at its begin, its ClientHello, its certificate, the verification of its peer and
its end, and answer at once, by a Deferred or coroutine, or later from any thread.
