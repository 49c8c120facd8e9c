"""Settings and secrets from SSM."""

from collections.abc import Iterator

import pytest

from buttersync.clients import client
from buttersync.outcomes import Unavailable
from buttersync.settings import FRESH_SECONDS, RETRY_SECONDS, Settings
from tests.fakes.aws import FakeAws, Fault, fake_aws


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAws]:
    with fake_aws() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        client.cache_clear()
        yield running
    client.cache_clear()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def put(aws: FakeAws, **values: str) -> None:
    aws.parameters.update({f"/buttersync/test/postgres/{name}": value for name, value in values.items()})


def test_all_settings_of_an_owner_are_read_by_path_and_no_others(aws: FakeAws, clock: Clock) -> None:
    put(aws, dsn="host=db", ca="PEM")
    aws.parameters["/buttersync/test/postgres2/dsn"] = "other"

    assert Settings("postgres", clock=clock).read() == {"dsn": "host=db", "ca": "PEM"}


def test_named_settings_are_read_alone(aws: FakeAws, clock: Clock) -> None:
    put(aws, dsn="host=db", ca="PEM")

    assert Settings("postgres", names=("dsn", "missing"), clock=clock).read() == {"dsn": "host=db"}


def test_settings_are_read_again_after_five_minutes(aws: FakeAws, clock: Clock) -> None:
    settings = Settings("postgres", clock=clock)
    put(aws, dsn="old")
    settings.read()
    put(aws, dsn="new")

    clock.now = FRESH_SECONDS - 1
    assert settings.read() == {"dsn": "old"}
    clock.now = FRESH_SECONDS
    assert settings.read() == {"dsn": "new"}


def test_an_expired_copy_serves_while_ssm_fails_and_ssm_is_not_asked_each_time(aws: FakeAws, clock: Clock) -> None:
    settings = Settings("postgres", clock=clock)
    put(aws, dsn="old")
    settings.read()
    aws.faults["ssm"] = 500
    clock.now = FRESH_SECONDS

    assert settings.read() == {"dsn": "old"}
    calls = len(aws.calls)
    assert settings.read() == {"dsn": "old"}
    assert len(aws.calls) == calls

    del aws.faults["ssm"]
    put(aws, dsn="new")
    clock.now += RETRY_SECONDS
    assert settings.read() == {"dsn": "new"}


@pytest.mark.parametrize("fault", [500, "drop", "hang", "garbage"])
def test_without_a_copy_a_failing_ssm_is_unavailable_and_named(aws: FakeAws, clock: Clock, fault: Fault) -> None:
    aws.faults["ssm"] = fault

    with pytest.raises(Unavailable, match="under /buttersync/test/postgres/"):
        Settings("postgres", clock=clock).read()


def test_the_first_setting_is_heard_at_once(aws: FakeAws, clock: Clock) -> None:
    settings = Settings("postgres", clock=clock)
    assert settings.read() == {}

    put(aws, dsn="host=db")

    assert settings.read() == {"dsn": "host=db"}


def test_nothing_does_not_serve_while_ssm_fails(aws: FakeAws, clock: Clock) -> None:
    settings = Settings("postgres", clock=clock)
    settings.read()
    aws.faults["ssm"] = 500

    with pytest.raises(Unavailable):
        settings.read()


def test_dropped_settings_are_read_anew(aws: FakeAws, clock: Clock) -> None:
    settings = Settings("postgres", clock=clock)
    put(aws, dsn="wrong")
    settings.read()
    put(aws, dsn="right")

    settings.drop()

    assert settings.read() == {"dsn": "right"}
