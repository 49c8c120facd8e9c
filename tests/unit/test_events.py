"""The example events: complete, what ingest and the queues understand, and up to date."""

import json
from pathlib import Path
from typing import Any

import pytest

from buttersync.model import Change, Document
from buttersync.queues import Message
from sandbox import events
from sandbox.stack import TARGETS
from webhook import CLAIMS, Ignored, change_of

EVENTS = events.FOLDER
NAMES = {
    *(f"post.{action}" for action in ("published", "draft", "delete", "all")),
    *(f"post.localization.{action}" for action in ("published", "draft", "delete")),
    *(f"page.{action}" for action in ("published", "draft", "unpublished", "delete", "all")),
    *(f"collectionitem.{action}" for action in ("published", "draft", "unpublished", "delete", "all")),
    "media.videouploaded",
}
"""https://buttercms.com/docs/build-your-app/webhooks-events/webhook-event-types"""


def read(*path: str) -> Any:
    return json.loads(EVENTS.joinpath(*path).read_text())


def test_there_is_a_webhook_of_each_of_the_18_events() -> None:
    assert len(NAMES) == 18
    assert {path.name for path in (EVENTS / "webhooks").iterdir()} == {f"{name}.json" for name in NAMES}
    assert all(read("webhooks", f"{name}.json")["webhook"]["event"] == name for name in NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_ingest_knows_what_each_of_them_says(name: str) -> None:
    family, _, action = name.rpartition(".")

    claim = change_of(read("webhooks", f"{name}.json"), events.SENT_AT, "en")

    assert isinstance(claim, Ignored) == (action not in CLAIMS.get(family, {}))


def test_the_made_files_are_up_to_date() -> None:
    assert list(events.stale(EVENTS)) == [], "run: make events"


def test_the_queues_hold_messages_as_the_functions_get_them() -> None:
    def bodies(function: str) -> list[str]:
        return [Message.from_record(record).body for record in read("queues", f"{function}.json")["Records"]]

    changes = [Change.from_json(body) for body in bodies("resolve")]
    assert {change.identity.kind for change in changes} == {"post", "page", "item"}
    for target in TARGETS:
        documents = [Document.from_json(body) for body in bodies(target)]
        assert {document.identity.kind for document in documents} == {"post", "page", "item"}


def test_a_check_finds_what_has_changed_and_what_nobody_makes_any_more(tmp_path: Path) -> None:
    (tmp_path / "webhooks").mkdir()
    for path in (EVENTS / "webhooks").iterdir():
        (tmp_path / "webhooks" / path.name).write_text(path.read_text())
    events.write(tmp_path)
    assert list(events.stale(tmp_path)) == []

    (tmp_path / "env.json").write_text("{}")
    (tmp_path / "api" / "post.gone.json").write_text("{}")
    found = list(events.stale(tmp_path))
    events.write(tmp_path)

    assert found == [Path("api/post.gone.json"), Path("env.json")]
    assert list(events.stale(tmp_path)) == []
