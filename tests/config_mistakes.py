"""
What an operator can get wrong in the configuration, and what is said about it, to the letter.

Cases have an empty line between them.  Each is a file, and behind arrows the lines that it is answered with; C{HERE} is
the directory of the file, and the file's own name, in front of each line, is left out.
"""

from atstls.tls.contexts import CURVES

MISTAKES = r"""
x = 1
-> x: stands before the first section, allowed: a key below its [section]

[net]
hello
-> line 2: 'hello' is no entry, allowed: KEY = VALUE

[net]
= 5
-> line 2: '= 5' is no entry, allowed: KEY = VALUE

[net
-> line 1: '[net' is no entry, allowed: KEY = VALUE

[net] what
-> line 1: '[net] what' is no entry, allowed: KEY = VALUE

[net]
additional_accepts = 1
additional_accepts = 2
additional_accepts = 3
-> [net] additional_accepts: is there already on line 2, allowed: once
-> [net] additional_accepts: is there already on line 2, allowed: once

[network]
-> [network]: unknown section, allowed: [edge], [net], [ssl], [listen NAME], [certificate NAME], [sni PATTERN]

[]
-> []: unknown section, allowed: [edge], [net], [ssl], [listen NAME], [certificate NAME], [sni PATTERN]

[DEFAULT]
-> [DEFAULT]: unknown section, allowed: [edge], [net], [ssl], [listen NAME], [certificate NAME], [sni PATTERN]

[Net]
-> [Net]: unknown section, allowed: [edge], [net], [ssl], [listen NAME], [certificate NAME], [sni PATTERN]

[log]
access = -
-> [log]: section not available in this version, allowed: to leave it out

[admin]
-> [admin]: section not available in this version, allowed: to leave it out

[edge one]
-> [edge one]: this section has no name, allowed: [edge]

[listen]
port = 1
-> [listen]: this section needs a name, allowed: [listen NAME]

[certificate]
-> [certificate]: this section needs a name, allowed: [certificate NAME]

[net]
[net]
-> [net]: is the same as in [net] on line 1, allowed: once

[listen a]
port = 1
[listen  a]
port = 2
-> [listen a]: is the same as in [listen a] on line 1, allowed: once

[net]
connection_throttle = 1
-> [net] connection_throttle: unknown key, allowed: connections_throttle (the nearest)

[edge]
zz = 1
-> [edge] zz: unknown key, allowed: drain_timeout, half_close_timeout

[edge]
Drain_Timeout = 1
-> [edge] Drain_Timeout: unknown key, allowed: drain_timeout (the nearest)

[net]
poll_timeout = 10
-> [net] poll_timeout: not available in this version (nothing waits for a period here, the reactor wakes when something happens), allowed: to leave it out

[ssl]
TLSv1_2.enabled = 1
-> [ssl] TLSv1_2.enabled: not available in this version (server.version.min and server.version.max say it), allowed: to leave it out

[ssl]
ocsp.enabled = 1
-> [ssl] ocsp.enabled: not available in this version, allowed: to leave it out

[edge]
drain_timeout = -1
-> [edge] drain_timeout: '-1' is not a number of seconds, allowed: seconds, fractions too, 0 or more

[edge]
drain_timeout =
-> [edge] drain_timeout: '' is not a number of seconds, allowed: seconds, fractions too, 0 or more

[edge]
drain_timeout = 1e3
-> [edge] drain_timeout: '1e3' is not a number of seconds, allowed: seconds, fractions too, 0 or more

[edge]
half_close_timeout = 0.0
-> [edge] half_close_timeout: 0 is out of range, allowed: seconds, fractions too, more than 0

[net]
additional_accepts = many
-> [net] additional_accepts: 'many' is not a whole number, allowed: a whole number, -1 or more

[net]
additional_accepts = -2
-> [net] additional_accepts: -2 is out of range, allowed: a whole number, -1 or more

[net]
additional_accepts = 1 2
-> [net] additional_accepts: '1 2' is not a whole number, allowed: a whole number, -1 or more

[net]
additional_accepts = 4294967296
-> [net] additional_accepts: 4294967296 is out of range, allowed: a whole number, -1 or more

[net]
sock_option_flag_in = 8
-> [net] sock_option_flag_in: 8 is out of range, allowed: a whole number, 0 to 7

[net]
per_client.max_connections_in = -9
-> [net] per_client.max_connections_in: -9 is out of range, allowed: a whole number, 0 or more

[net]
per_client.connection.exempt_list = 10.0.0.1/8
-> [net] per_client.connection.exempt_list: 10.0.0.1/8 has host bits set, allowed: a list of IP addresses and networks, as 192.0.2.1, 192.0.2.0/24, 2001:db8::/32, or empty

[net]
throttle_message = full\x
-> [net] throttle_message: '\\x' is no escape, allowed: text, with \r, \n, \t and \\

[net]
throttle_message = full\
-> [net] throttle_message: '\\' is no escape, allowed: text, with \r, \n, \t and \\

[net]
max_connections_in = -1
-> [net] max_connections_in: -1 is out of range, allowed: a whole number, 0 or more

[ssl]
server.groups_list = P-256:P-384
-> [ssl] server.groups_list: 'P-256:P-384' is none of the words, allowed: one word, GROUPS, or empty

[ssl]
client.CA.cert.path = none
-> [ssl] client.CA.cert.path: HERE/none is not a directory, allowed: a directory, readable, relative to the configuration file, or empty

[ssl]
server.honor_cipher_order = yes
-> [ssl] server.honor_cipher_order: 'yes' is neither 1 nor 0, allowed: a switch, 1 or 0

[ssl]
max_record_size = 16384
-> [ssl] max_record_size: 16384 is out of range, allowed: a whole number, -1 to 16383

[ssl]
session_cache = 3
-> [ssl] session_cache: 3 is out of range, allowed: a whole number, 0 to 2

[ssl]
server.version.min = SSLv3
-> [ssl] server.version.min: 'SSLv3' is none of the words, allowed: one word, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3

[ssl]
server.version.max = TLSv1.1
-> [ssl] server.version.max: there is no version from TLSv1.2 to TLSv1.1, allowed: a minimum that is no younger than the maximum

[ssl]
client.version.min = TLSv1.3
client.version.max = TLSv1.2
-> [ssl] client.version.min: there is no version from TLSv1.3 to TLSv1.2, allowed: a minimum that is no younger than the maximum

[ssl]
client.verify.server.policy = enforced
-> [ssl] client.verify.server.policy: 'enforced' is none of the words, allowed: one word, DISABLED, PERMISSIVE, ENFORCED

[ssl]
server.cipher_suite = ROT13
-> [ssl] server.cipher_suite: 'ROT13' has no cipher that this OpenSSL knows, allowed: one line of text, names of ciphers with colons between, as the command openssl ciphers takes them

[ssl]
server.TLSv1_3.cipher_suites = AES128-SHA
-> [ssl] server.TLSv1_3.cipher_suites: 'AES128-SHA' has no cipher that this OpenSSL knows, allowed: one line of text, names of ciphers with colons between, as the command openssl ciphers takes them

[ssl]
server.cipher_suite = A:
 B
-> [ssl] server.cipher_suite: 'A:\nB' is more than one line, allowed: one line of text, names of ciphers with colons between, as the command openssl ciphers takes them

[ssl]
client.CA.cert.filename = no.pem
-> [ssl] client.CA.cert.filename: HERE/no.pem cannot be read: No such file or directory, allowed: a file, PEM, with certificates of authorities, or empty

[ssl]
client.CA.cert.filename = site
-> [ssl] client.CA.cert.filename: HERE/site is not a file, allowed: a file, PEM, with certificates of authorities, or empty

[ssl]
client.CA.cert.filename = text
-> [ssl] client.CA.cert.filename: HERE/text: there is no CA certificate in it; PEM is needed, allowed: a file, PEM, with certificates of authorities, or empty

[ssl]
client.private_key.filename = a.key
-> [ssl] client.private_key.filename: is the key of no certificate, allowed: with client.cert.filename

[ssl]
client.cert.filename = a.pem
-> [ssl] client.cert.filename: HERE/a.pem: there is no private key in it, allowed: PEM, a certificate with its chain, and the key that fits it

[ssl]
client.cert.filename = a.pem
client.private_key.filename = no
-> [ssl] client.private_key.filename: HERE/no cannot be read: No such file or directory, allowed: a file, readable, relative to the configuration file, or empty

[ssl]
client.alpn_protocols = h2,,http/1.1
-> [ssl] client.alpn_protocols: 'h2,,http/1.1' has an empty item, allowed: a list of ALPN protocol names, 1 to 255 ASCII characters each

[listen a]
-> [listen a]: there is nothing to listen on, allowed: exactly one of port, unix, fd, systemd

[listen a]
interface = ::1
-> [listen a]: there is nothing to listen on, allowed: exactly one of port, unix, fd, systemd

[listen a]
port = 1
fd = 3
unix = s
-> [listen a] fd: is a second place to listen on, beside port, allowed: exactly one of port, unix, fd, systemd
-> [listen a] unix: is a second place to listen on, beside port, allowed: exactly one of port, unix, fd, systemd

[listen a]
fd = 3
interface = ::
-> [listen a] interface: has no use with fd, allowed: with port

[listen a]
port = 65536
-> [listen a] port: 65536 is out of range, allowed: a whole number, 0 to 65535

[listen a]
port = 1
interface = localhost
-> [listen a] interface: 'localhost' is not an IP address, allowed: an IP address, 0.0.0.0 for all of IPv4, :: for all of IPv6

[listen a]
unix = no/s
-> [listen a] unix: HERE/no is not a directory, allowed: the path of a UNIX socket, in a directory that is there, at most 107 bytes

[listen a]
unix =
-> [listen a] unix: there is no file name, allowed: the path of a UNIX socket, in a directory that is there, at most 107 bytes

[listen a]
systemd =
-> [listen a] systemd: there is nothing, allowed: one line of text

[listen a]
port = 1
backlog = 0
-> [listen a] backlog: 0 is out of range, allowed: a whole number, 1 or more

[listen a]
port = 1
flags = ssl, tr-pass
-> [listen a] flags: tr-pass without a host to pass on to, allowed: with one of forward_route, partial_blind_route, tunnel_route

[listen a]
port = 1
flags = ssl, tr-pass
site = site
-> [listen a] flags: tr-pass without a host to pass on to, allowed: with one of forward_route, partial_blind_route, tunnel_route

[listen a]
port = 1
flags = ssl, tr-pass, allow-plain
-> [listen a] flags: 'allow-plain, ssl, tr-pass' has two flags that contradict each other, allowed: a list of flags, exactly one of ssl, plain; with ssl at most one of tr-pass, allow-plain; any of pp, pp-clnt, tr-in, tr-out, tr-full

[listen a]
port = 1
flags = plain, allow-plain
-> [listen a] flags: 'allow-plain' has no use without ssl, allowed: a list of flags, exactly one of ssl, plain; with ssl at most one of tr-pass, allow-plain; any of pp, pp-clnt, tr-in, tr-out, tr-full

[listen a]
port = 1
flags = allow-plain
-> [listen a] flags: 'allow-plain' has none of them, allowed: a list of flags, exactly one of ssl, plain; with ssl at most one of tr-pass, allow-plain; any of pp, pp-clnt, tr-in, tr-out, tr-full

[listen a]
port = 1
flags = pp
-> [listen a] flags: 'pp' has none of them, allowed: a list of flags, exactly one of ssl, plain; with ssl at most one of tr-pass, allow-plain; any of pp, pp-clnt, tr-in, tr-out, tr-full

[sni a.example]
tunnel_route = $1.internal:443
-> [sni a.example] tunnel_route: there is nothing for $1 here, allowed: in a section [sni *.NAME]

[sni *.a.example]
tunnel_route = $2.internal:443
-> [sni *.a.example] tunnel_route: '$2.internal' is neither a host name nor an IP address, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[sni a.example]
tunnel_route = x:1:{inbound_local_port}
-> [sni a.example] tunnel_route: 'x:1:{inbound_local_port}' has two ports, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
tunnel_route = {original_destination}
-> [listen a] tunnel_route: there is no original destination here, allowed: with flags = ..., tr-in

[listen a]
unix = s
flags = ssl, tr-in
-> [listen a] flags: a UNIX socket is not transparent, allowed: tr-in, tr-full with port

[listen a]
port = 1
proxy_protocol_allowlist = 10.0.0.0/8
-> [listen a] proxy_protocol_allowlist: no PROXY header is read here, allowed: with flags = ..., pp or pp-clnt

[listen a]
port = 1
proxy_protocol_out = 3
-> [listen a] proxy_protocol_out: 3 is out of range, allowed: a whole number, -1 to 2

[listen a]
port = 1
flags = blind
-> [listen a] flags: 'blind' is not a flag, allowed: a list of flags, exactly one of ssl, plain; with ssl at most one of tr-pass, allow-plain; any of pp, pp-clnt, tr-in, tr-out, tr-full

[listen a]
port = 1
flags = plain, ssl
-> [listen a] flags: 'plain, ssl' has more than one of them, allowed: a list of flags, exactly one of ssl, plain; with ssl at most one of tr-pass, allow-plain; any of pp, pp-clnt, tr-in, tr-out, tr-full

[listen a]
port = 1
flags =
-> [listen a] flags: '' has none of them, allowed: a list of flags, exactly one of ssl, plain; with ssl at most one of tr-pass, allow-plain; any of pp, pp-clnt, tr-in, tr-out, tr-full

[listen a]
port = 1
alpn = h2, h2
-> [listen a] alpn: 'h2' stands there twice, allowed: a list of ALPN protocol names, 1 to 255 ASCII characters each

[listen a]
port = 1
alpn = hé
-> [listen a] alpn: 'hé' is not a protocol name, allowed: a list of ALPN protocol names, 1 to 255 ASCII characters each

[listen a]
port = 1
[listen b]
port = 1
interface = 127.0.0.1
-> [listen b] port: is the same as in [listen a] on line 1, allowed: once

[listen a]
unix = s
[listen b]
unix = ./s
-> [listen b] unix: is the same as in [listen a] on line 1, allowed: once

[listen a]
fd = 0
[listen b]
fd = 0
-> [listen b] fd: is the same as in [listen a] on line 1, allowed: once

[listen a]
systemd = w
[listen b]
systemd = w
-> [listen b] systemd: is the same as in [listen a] on line 1, allowed: once

[listen a]
port = 1
[listen b]
port = 1
interface = x
-> [listen b] interface: 'x' is not an IP address, allowed: an IP address, 0.0.0.0 for all of IPv4, :: for all of IPv6

[listen a]
port = 1
site = site
forward_route = a:1
factory = tests.test_config:a_factory
-> [listen a] forward_route: is a second route, beside site, allowed: at most one of site, forward_route, partial_blind_route, tunnel_route, factory
-> [listen a] factory: is a second route, beside site, allowed: at most one of site, forward_route, partial_blind_route, tunnel_route, factory

[listen a]
port = 1
site = nowhere
-> [listen a] site: HERE/nowhere is not a directory, allowed: a directory, readable, relative to the configuration file

[listen a]
port = 1
site =
-> [listen a] site: there is no directory name, allowed: a directory, readable, relative to the configuration file

[listen a]
port = 1
forward_route = a
-> [listen a] forward_route: 'a' has no port, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
forward_route =
-> [listen a] forward_route: '' has no port, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
forward_route = a:
-> [listen a] forward_route: '' is not a port, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
forward_route = a:0
-> [listen a] forward_route: '0' is not a port, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
forward_route = a:65536
-> [listen a] forward_route: '65536' is not a port, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
forward_route = :80
-> [listen a] forward_route: '' is neither a host name nor an IP address, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
forward_route = *.a.example:80
-> [listen a] forward_route: '*.a.example' is neither a host name nor an IP address, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
forward_route = $1.example:80
-> [listen a] forward_route: there is nothing for $1 here, allowed: in a section [sni *.NAME]

[listen a]
port = 1
tunnel_route = 192.0.2.256:80
-> [listen a] tunnel_route: '192.0.2.256' is neither a host name nor an IP address, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
tunnel_route = ::1:80
-> [listen a] tunnel_route: '::1:80' has an IPv6 address without brackets, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
tunnel_route = [a.example]:80
-> [listen a] tunnel_route: '[a.example]:80' has brackets around what is not an IPv6 address, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
tunnel_route = [::1]
-> [listen a] tunnel_route: '[::1]' has no port, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
partial_blind_route = unix:
-> [listen a] partial_blind_route: there is no file name, allowed: HOST:PORT, [V6]:PORT, unix:PATH or {original_destination}, port 1 to 65535 or {inbound_local_port} or {proxy_protocol_port}

[listen a]
port = 1
factory = tests.test_config
-> [listen a] factory: 'tests.test_config' is not of this form, allowed: package.module:NAME, an IProtocolFactory, or a callable that takes the reactor and returns one

[listen a]
port = 1
factory = tests.no_such:x
-> [listen a] factory: there is no module tests.no_such, allowed: package.module:NAME, an IProtocolFactory, or a callable that takes the reactor and returns one

[listen a]
port = 1
factory = tests.test_config:no_such
-> [listen a] factory: module tests.test_config has no no_such, allowed: package.module:NAME, an IProtocolFactory, or a callable that takes the reactor and returns one

[listen a]
port = 1
factory = tests.test_config:not_a_factory
-> [listen a] factory: tests.test_config:not_a_factory is neither a protocol factory nor callable, allowed: package.module:NAME, an IProtocolFactory, or a callable that takes the reactor and returns one

[listen a]
port = 1
hook.client_hello = tests.test_config
-> [listen a] hook.client_hello: 'tests.test_config' is not of the form package.module:NAME, allowed: a list of package.module:NAME, callables that take the connection

[listen a]
port = 1
hook.cert = tests.test_config:no_such
-> [listen a] hook.cert: module tests.test_config has no no_such, allowed: a list of package.module:NAME, callables that take the connection

[ssl]
hook.vconn_close = os:getpid, tests.test_config:not_a_factory
-> [ssl] hook.vconn_close: tests.test_config:not_a_factory is not callable, allowed: a list of package.module:NAME, callables that take the connection

[ssl]
hook.client_hell = os:getpid
-> [ssl] hook.client_hell: unknown key, allowed: hook.client_hello (the nearest)

[listen a]
port = 1
flags = plain
hook.vconn_start = os:getpid
hook.outbound_start = os:getpid
-> [listen a] hook.vconn_start: has no use on a listener without TLS, allowed: with flags = ssl

[certificate a]
-> [certificate a] ssl_cert_name: there is no certificate, allowed: one file or more

[certificate a]
ssl_cert_name =
-> [certificate a] ssl_cert_name: there is no certificate, allowed: one file or more

[certificate a]
ssl_cert_name = no.pem
-> [certificate a] ssl_cert_name: HERE/no.pem cannot be read: No such file or directory, allowed: a list of files, readable, relative to the configuration file

[certificate a]
ssl_cert_name = a.pem
ssl_key_name = no.key
-> [certificate a] ssl_key_name: HERE/no.key cannot be read: No such file or directory, allowed: a list of files, readable, relative to the configuration file

[certificate a]
ssl_cert_name = a.pem
ssl_key_name = b.key
-> [certificate a] ssl_cert_name: HERE/b.key: the key does not fit the certificate in HERE/a.pem, allowed: PEM, a certificate with its chain, and the key that fits it

[certificate a]
ssl_cert_name = text
-> [certificate a] ssl_cert_name: HERE/text: it is not PEM, which has lines like -----BEGIN CERTIFICATE-----, allowed: PEM, a certificate with its chain, and the key that fits it

[certificate a]
ssl_cert_name = both.pem, rsa.pem
ssl_key_name = a.key
-> [certificate a] ssl_key_name: 1 for 2 in ssl_cert_name, allowed: as many, or none

[certificate a]
ssl_cert_name = both.pem, other.pem
-> [certificate a] ssl_cert_name: HERE/other.pem: it has the same kind of key as HERE/both.pem, allowed: PEM, a certificate with its chain, and the key that fits it

[certificate a]
ssl_cert_name = both.pem
action = tunnel
-> [certificate a] action: nothing is passed on untouched, allowed: with flags = ssl, tr-pass in a [listen NAME]

[certificate a]
ssl_cert_name = both.pem
action = pass
-> [certificate a] action: 'pass' is none of the words, allowed: one word, tunnel, or empty

[listen a]
port = 1
flags = ssl, tr-pass
tunnel_route = b:1
[certificate a]
action = tunnel
[certificate b]
dest_ip = *
action = tunnel
[certificate c]
dest_ip = 192.0.2.1
action = tunnel
ssl_key_name = a.key
-> [certificate a] ssl_cert_name: there is no certificate, allowed: one file or more
-> [certificate b] dest_ip: is every address, allowed: one address, or none, with action = tunnel
-> [certificate c] ssl_cert_name: there is no certificate, allowed: one file or more

[certificate a]
ssl_cert_name = both.pem
dest_ip = here
-> [certificate a] dest_ip: 'here' is not an IP address, allowed: an address, as *, 192.0.2.1, 192.0.2.1:443, 2001:db8::1, [2001:db8::1]:443

[certificate a]
ssl_cert_name = both.pem
dest_ip = *
[certificate b]
ssl_cert_name = other.pem
dest_ip = *
-> [certificate b] dest_ip: is the same as in [certificate a] on line 1, allowed: once

[sni a b]
-> [sni a b]: is no name, allowed: [sni NAME], [sni *.NAME] or [sni]

[sni www.*.example]
-> [sni www.*.example]: is no name, allowed: [sni NAME], [sni *.NAME] or [sni]

[sni *]
-> [sni *]: is no name, allowed: [sni NAME], [sni *.NAME] or [sni]

[sni w*.example]
-> [sni w*.example]: is no name, allowed: [sni NAME], [sni *.NAME] or [sni]

[sni 192.0.2.1]
-> [sni 192.0.2.1]: is no name, allowed: [sni NAME], [sni *.NAME] or [sni]

[sni bob.example]
[sni BOB.example.]
-> [sni BOB.example.]: is the same as in [sni bob.example] on line 1, allowed: once

[sni]
[sni]
-> [sni]: is the same as in [sni] on line 1, allowed: once

[sni a]
http2 = 1
-> [sni a] http2: '1' is neither on nor off, allowed: a switch, on or off

[sni a]
http3 = on
-> [sni a] http3: unknown key, allowed: http2 (the nearest)

[sni a]
site = site
tunnel_route = a:1
-> [sni a] tunnel_route: is a second route, beside site, allowed: at most one of site, forward_route, partial_blind_route, tunnel_route, factory

[ssl]
server.version.max = TLSv1.2
[sni a]
valid_tls_version_min_in = TLSv1.3
-> [sni a] valid_tls_version_min_in: there is no version from TLSv1.3 to TLSv1.2, allowed: a minimum that is no younger than the maximum

[sni a]
ip_allow = 10.0.0.1/8
-> [sni a] ip_allow: 10.0.0.1/8 has host bits set, allowed: a list of IP addresses and networks, as 192.0.2.1, 192.0.2.0/24, 2001:db8::/32

[sni a]
ip_allow =
-> [sni a] ip_allow: there is no address, allowed: a list of IP addresses and networks, as 192.0.2.1, 192.0.2.0/24, 2001:db8::/32

[sni a]
ip_allow = ::1, ::1/128
-> [sni a] ip_allow: '::1/128' stands there twice, allowed: a list of IP addresses and networks, as 192.0.2.1, 192.0.2.0/24, 2001:db8::/32

[sni a]
verify_client = x
-> [sni a] verify_client: 'x' is none of the words, allowed: one word, NONE, MODERATE, STRICT

[sni a]
verify_client = STRICT
-> [sni a] verify_client: there are no authorities to trust, allowed: with verify_client_ca_certs, or with CA.cert.filename in [ssl]

[sni a]
verify_client = STRICT
verify_client_ca_certs = a.pem
tunnel_route = b:1
-> [sni a] verify_client: nobody looks at certificates in a blind tunnel, allowed: with a route on which TLS ends here

[sni a]
verify_client_ca_certs = a.pem
-> [sni a] verify_client_ca_certs: no certificate is asked for, allowed: with verify_client = MODERATE or STRICT

[ssl]
keylog_file = site
-> [ssl] keylog_file: HERE/site is not a file, allowed: the path of a file, in a directory that is there, or empty

[ssl]
keylog_file = none/keys
-> [ssl] keylog_file: HERE/none is not a directory, allowed: the path of a file, in a directory that is there, or empty

[ssl]
wire_trace_enabled = yes
wire_trace_percentage = 101
wire_trace_addr = 192.0.2.0/24
wire_trace_server_name = *.example
-> [ssl] wire_trace_enabled: 'yes' is neither 1 nor 0, allowed: a switch, 1 or 0
-> [ssl] wire_trace_percentage: 101 is out of range, allowed: a whole number, 0 to 100
-> [ssl] wire_trace_addr: '192.0.2.0/24' is not an IP address, allowed: an IP address, of one host, or empty
-> [ssl] wire_trace_server_name: '*.example' is not one name, allowed: a host name, without a wildcard, or empty

[ssl]
client.certification_level = 2
-> [ssl] client.certification_level: there are no authorities to trust, allowed: with CA.cert.filename

[sni a]
client_cert = x
-> [sni a] client_cert: HERE/x cannot be read: No such file or directory, allowed: a file, readable, relative to the configuration file

[sni a]
inbound_port_ranges = x
-> [sni a] inbound_port_ranges: 'x' is not a port, allowed: a list of ports and ranges, as 443, 8000-8999, from 1 to 65535

[sni a]
inbound_port_ranges = 443, 8000-8999
[sni b]
inbound_port_ranges = 443
[sni a]
inbound_port_ranges = 444, 8999
-> [sni a] inbound_port_ranges: port 8999 is in [sni a] on line 1 as well, allowed: one rule for a name and a port

[sni a]
[sni a]
-> [sni a]: is the same as in [sni a] on line 1, allowed: once
"""  # noqa: E501  (the messages are whole)


def mistakes() -> list[tuple[str, list[str]]]:
    """Each case of the table: the text of the file and the lines of the answer."""
    cases = []
    for case in MISTAKES.replace("GROUPS", ", ".join(CURVES)).strip().split("\n\n"):
        lines = case.split("\n")
        text = "".join(f"{line}\n" for line in lines if not line.startswith("-> "))
        cases.append((text, [line.removeprefix("-> ") for line in lines if line.startswith("-> ")]))
    return cases
