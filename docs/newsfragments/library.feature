``UnixNetVConnection`` and ``SSLNetVConnection`` give a user the same VIO interface over TCP and over TLS, and an
ordinary Twisted protocol runs on either.
