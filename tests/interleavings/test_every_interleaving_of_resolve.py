"""However the calls of two workers fall, with a death and an old reading, a store and the table end as the site is."""

from collections.abc import Callable

import pytest

from decisions import Row
from tests.doubles import TableDouble
from tests.interleavings.__main__ import line, row
from tests.interleavings.of_resolve import History, Resolve
from tests.interleavings.scheduler import explored
from tests.interleavings.spaces import NOTHING, SMALL, A, B, at_one_slug, renamed, searched, slug_taken
from tests.unit.test_interleavings import NothingPending, Overwriting

LEAST_WORLDS = 2000
"""Of every space: fewer would mean that a choice is no longer there."""


@pytest.mark.parametrize("name", SMALL)
def test_however_calls_fall_a_store_ends_up_as_the_site_is(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    seen = searched(SMALL[name])

    record_property("searched", line(row(name, seen)))
    assert not seen.wrong, seen
    assert seen.worlds > LEAST_WORLDS
    assert seen.runs > seen.worlds


def test_a_table_without_conditions_is_found_out() -> None:
    seen = explored(Resolve(at_one_slug(A, B), table=Overwriting))

    assert seen.wrong == "a version was published with two contents"


def test_a_row_that_does_not_say_what_is_pending_is_found_out() -> None:
    seen = explored(Resolve(at_one_slug(A, B), table=NothingPending))

    assert "the store holds {}" in seen.wrong


class OnlyNews(TableDouble):
    """A table in which a reading that found nothing new leaves no trace."""

    def record(self, row: Row) -> None:
        known = self.row(row.ref)
        if (row.version, row.readings) != (known.version, known.readings + 1):
            super().record(row)


def test_a_reading_that_found_nothing_new_and_is_not_recorded_is_found_out() -> None:
    seen = explored(Resolve(at_one_slug(A, NOTHING, A), table=OnlyNews))

    assert "the store holds" in seen.wrong


@pytest.mark.parametrize("history", [renamed("ab"), slug_taken()])
def test_an_old_reading_where_a_post_changed_its_slug_is_found_out(history: History) -> None:
    """It is why items are read past the caches: a late webhook may bring back what has left its slug unseen."""
    seen = explored(Resolve(history, deaths=0, stale=1))

    assert "the store holds {'post:a:en': 'A', 'post:b:en': 'A'}" in seen.wrong
