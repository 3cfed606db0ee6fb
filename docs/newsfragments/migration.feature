``release``, ``populate`` and ``migrate`` move an open connection, with its TLS session and whatever is still to be read or
sent, to another object or another handler.
