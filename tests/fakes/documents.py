"""A document with something in every field."""

from buttersync.model import Document, Identity

HELLO = Document(
    identity=Identity("post", "", "hello", "en"),
    version=1,
    change="created",
    announce_key="post:7",
    archive_key="archive",
    name="Hello",
    title="Hello there",
    summary="A greeting.",
    url="https://www.example.com/blog/hello",
    image="https://cdn.example.com/hello.png",
    author="Ada Example",
    categories=("Letters", "Notes"),
    tags=("first", "short"),
    published_at="2026-03-01T08:00:00.000000Z",
    updated_at="2026-03-02T09:30:00.250000Z",
    text="Hello there, reader.",
    fields={"slug": "hello", "body": "<p>Hello there, reader.</p>", "featured": {"rank": 3}},
)
