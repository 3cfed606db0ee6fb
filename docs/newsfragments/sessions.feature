Sessions with next hosts are kept and resumed (``origin_session_cache.enabled``, ``.size``, ``.timeout``), by
``SSLClientEndpoint`` with a ``ClientTLS`` too; ``ssl_ticket_enabled`` can be set for one certificate; a session whose client
certificate has expired, or over TLS 1.2 that of another name, is not resumed; where renegotiation is allowed it is 3
times in ten minutes, and never where clients are asked for a certificate. Tickets get a new key each day
(``server.session_ticket.key_lifetime``).
