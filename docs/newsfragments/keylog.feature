``keylog_file`` has the secrets of connections written for Wireshark, readable by the owner alone and with a warning in the
log.
