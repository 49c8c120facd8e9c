"""However the calls of two workers fall, with a death and an unanswered write, a store ends on the newest version."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.cloud import Dynamo
from tests.interleavings.__main__ import line, row
from tests.interleavings.of_lease import Lease
from tests.interleavings.spaces import REMOVAL, SMALL_OF_LEASE, UPSERT, searched

LEAST_WORLDS = 2000
"""Of every space: fewer would mean that a choice is no longer there."""


@pytest.mark.parametrize("name", SMALL_OF_LEASE)
def test_however_calls_fall_the_newest_version_is_written_last(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    seen = searched(SMALL_OF_LEASE[name])

    record_property("searched", line(row(name, seen)))
    assert not seen.wrong, seen
    assert seen.worlds > LEAST_WORLDS
    assert seen.runs > seen.worlds


class LeaseIgnored(Dynamo):
    """A table that gives a lease to everyone who asks."""

    def update_item(self, ConditionExpression: str, **update: Any) -> None:  # type: ignore[override]  # noqa: N803
        asked = ConditionExpression.partition(" AND (attribute_not_exists(#lease)")[0]
        used = f"{update['UpdateExpression']} {asked}"
        operands = ("ExpressionAttributeNames", "ExpressionAttributeValues")
        left = {kind: {name: one for name, one in update[kind].items() if name in used} for kind in operands}
        super().update_item(ConditionExpression=asked, **(update | left))


def test_a_lease_that_everybody_gets_is_found_out() -> None:
    seen = searched(lambda: Lease(UPSERT, REMOVAL, dynamo=LeaseIgnored, deaths=0, troubles=0, stalls=0))

    assert seen.wrong == "the store holds 5, and should hold nothing"


def test_an_unanswered_write_that_ends_its_lease_is_found_out() -> None:
    seen = searched(lambda: Lease(UPSERT, REMOVAL, unsure=False, deaths=0, stalls=0))

    assert seen.wrong == "the store holds 5, and should hold nothing"
