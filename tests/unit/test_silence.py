"""A silenced logger says nothing, and is as it was afterwards."""

import logging

import pytest

from clinical_ai.adapters.silence import silenced


def test_a_silenced_logger_and_those_below_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    loud = logging.getLogger("loud")
    loud.setLevel(logging.INFO)
    with silenced("loud"), silenced("loud"):
        loud.critical("one")
        logging.getLogger("loud.below").critical("two")
    loud.info("three")
    assert [record.message for record in caplog.records] == ["three"]
    assert loud.level == logging.INFO


def test_it_lasts_until_the_last_holder_lets_go() -> None:
    first, second = silenced("held"), silenced("held")
    with first:
        with second:
            pass
        assert not logging.getLogger("held").isEnabledFor(logging.CRITICAL)
    assert logging.getLogger("held").isEnabledFor(logging.CRITICAL)
