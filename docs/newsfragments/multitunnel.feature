``OneWayMultiTunnel`` sends what one connection reads to up to four others; the slowest sets the pace.
