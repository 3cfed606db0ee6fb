"""
The list of Traffic Server's gold tests says what is so.
"""

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.gold import GOLD


class GoldTests(SynchronousTestCase):
    """What is listed can be looked up."""

    def test_every_test_is_there(self) -> None:
        """Each test that is named exists; each gold test has one, or a reason why not."""
        for gold in GOLD:
            self.assertTrue(gold.tests or gold.missing, gold.name)
            for name in gold.tests:
                self.assertTrue(callable(namedAny(f"tests.integration.{name}")), name)

    def test_all_groups(self) -> None:
        """All 25 groups are there, and no gold test twice."""
        self.assertEqual(set(range(1, 26)), {gold.group for gold in GOLD})
        names = [gold.name for gold in GOLD]
        self.assertEqual(len(names), len(set(names)))
