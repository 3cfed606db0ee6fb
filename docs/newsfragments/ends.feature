Half-closed connections work in both directions, over TLS 1.2, TLS 1.3 and in tunnels, and an end arrives as what it
was: in order, cut off, or reset.
