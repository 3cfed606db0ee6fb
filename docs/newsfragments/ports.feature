``inbound_port_ranges`` in ``[sni]`` makes a rule for some local ports; a name may have several, each for other ports.
