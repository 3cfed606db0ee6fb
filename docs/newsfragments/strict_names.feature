``server.strict_sni = 1`` refuses names for which there is no certificate, and ``allow_client_renegotiation = 1`` lets TLS 1.2
clients begin anew.
