Session tickets of TLS 1.3 go out with the answer, in one segment, where the client has sent its question together with
the end of the handshake.
