Endpoints for TLS over UNIX sockets, over inherited descriptors and over sockets that systemd passed, in Python and in
``atstls:`` strings, which take the arguments of ``tls:`` in its own order too.
