Connections tell the chain that the peer showed, the chain and the name that were verified, and the group of the key exchange.
