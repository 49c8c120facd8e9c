"""The archive bucket, read: the whole of a version that a message only points to."""

import os

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from buttersync.clients import client
from buttersync.model import UNREADABLE, Document
from buttersync.outcomes import Failure, Refused, Unavailable
from buttersync.works import Skipped

GONE = ("NoSuchKey", "AccessDenied")
"""How S3 says that an object is not there; without ``s3:ListBucket`` it is the second.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html"""


class Gone(Exception):
    """The archive has no such object."""


def read(bucket: str, key: str) -> Document:
    """The archive object; raises Gone, one of UNREADABLE if it is malformed, botocore's errors."""
    try:
        answer = client("s3").get_object(Bucket=bucket, Key=key)
        return Document.from_json(answer["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            raise Gone(key) from error
        raise


def whole(document: Document, target: str) -> Document:
    """The document with all that the archive has of it, said to be what the message says it is.

    Raises Refused if it is gone, Skipped if it is gone and the item has a newer version, Unavailable if S3 fails.
    """
    try:
        kept = read(os.environ["ARCHIVE_BUCKET"], document.archive_key)
    except Gone as error:
        raise _gone(document, target) from error
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(f"the archive did not answer: {error}") from error
    except UNREADABLE as error:
        raise Refused(f"the archive object {document.archive_key} is malformed: {error}") from error
    own = {name: getattr(document, name) for name in ("identity", "version", "change", "announce_key", "archive_key")}
    return msgspec.structs.replace(kept, **own)


def _gone(document: Document, target: str) -> Failure:
    ref = document.identity.ref
    try:
        item = client("dynamodb").get_item(
            TableName=os.environ["CONTENT_TABLE"], Key={"ref": {"S": ref}}, ConsistentRead=True
        )
    except (ClientError, BotoCoreError) as error:
        return Unavailable(f"the archive object is gone, and the content table did not answer: {error}")
    version = int(item.get("Item", {}).get("version", {"N": "0"})["N"])
    if version > document.version:
        return Skipped(f"the archive object is gone, and the content table has version {version}")
    command = msgspec.json.encode({"command": "backfill", "republish": target}).decode()
    return Refused(f"the archive object is gone; send {command} to the resolve function: {document.archive_key}")
