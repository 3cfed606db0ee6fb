``flags = ssl, allow-plain`` serves clear text on a TLS port by the first byte, and ``flags = ssl, tr-pass`` passes what is not
TLS on untouched to where the route leads.
