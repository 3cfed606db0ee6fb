A transport over TLS looks like Twisted's own to applications that ask, as Daphne and Autobahn do: ``isinstance``
takes it for a ``TLSMemoryBIOProtocol``, and ``wrappedProtocol``, ``client``, ``hostname``, ``sessionno``, ``socket`` and
``fileno`` are there.
