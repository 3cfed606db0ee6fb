The ClientHello is read before OpenSSL sees it, so routes, certificates and hooks may take their time, under one
deadline that bytes do not renew; a failure is one line in the log with the peer, the name and the reason.
