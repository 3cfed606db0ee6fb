"""
Tests for L{atstls.tls.alerts}.
"""

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import LocalError
from atstls.tls import alerts


class AlertNameTests(SynchronousTestCase):
    def test_known_alerts_have_the_names_of_the_standard(self) -> None:
        """Whoever reads a log finds there the words of RFC 8446."""
        self.assertEqual("close_notify", alerts.alert_name(0))
        self.assertEqual("handshake_failure", alerts.alert_name(40))
        self.assertEqual("access_denied", alerts.alert_name(alerts.ACCESS_DENIED))
        self.assertEqual("no_application_protocol", alerts.alert_name(120))

    def test_unknown_alerts_keep_their_number(self) -> None:
        """A peer may send any number; the log shows it."""
        self.assertEqual("200", alerts.alert_name(200))


class AlertRecordTests(SynchronousTestCase):
    def words_of_client(self, record: bytes) -> str:
        """What an OpenSSL client says when C{record} is the answer to its hello."""
        client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        client.set_connect_state()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        client.bio_write(record)
        return str(self.assertRaises(SSL.Error, client.do_handshake))

    def test_record_is_laid_out_as_the_standard_says(self) -> None:
        """Type 21, version 3.1, two bytes: the level and the description."""
        self.assertEqual(b"\x15\x03\x01\x00\x02\x02\x31", alerts.alert_record(alerts.ACCESS_DENIED))

    def test_warning(self) -> None:
        """An alert need not be fatal."""
        self.assertEqual(b"\x15\x03\x01\x00\x02\x01\x5a", alerts.alert_record(alerts.USER_CANCELED, fatal=False))

    def test_client_understands_why_it_is_refused(self) -> None:
        """A client that gets our record instead of a ServerHello reports the very alert that we meant, whichever."""
        numbers = [value for name, value in vars(alerts).items() if name.isupper() and not name.startswith("_")]
        self.assertGreater(len(numbers), 25)
        numbers.remove(alerts.CLOSE_NOTIFY)  # no reason, but the end; OpenSSL has no words for it
        for number in numbers:
            words = alerts.alert_name(number).replace("_", " ").replace("canceled", "cancelled")
            self.assertIn(words, self.words_of_client(alerts.alert_record(number)))

    def test_a_number_that_is_no_byte_is_refused(self) -> None:
        """A slip in a hook's code is told to its author and never reaches the wire."""
        for number in (-1, 256):
            self.assertRaises(LocalError, alerts.alert_record, number)
