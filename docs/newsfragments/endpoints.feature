``SSLServerEndpoint`` and ``SSLClientEndpoint`` take the arguments of Twisted's endpoints for TLS, and endpoint strings
that begin with ``atstls:`` those of ``ssl:`` and ``tls:``, so that one line moves a Twisted application.
