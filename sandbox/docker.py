"""Lets the containers of `sam local invoke` reach the stack of `make local`: ``eval "$(python -m sandbox.docker)"``.

To a container, 127.0.0.1 is itself; Docker names the machine around it host.docker.internal. So the settings are stored
again for a stage of their own, with that name in them, and what is printed exports what only the running stack knows.
Wants the variables of `.local/env`.
"""

import os
import shlex
from collections.abc import Iterator

import boto3

from sandbox.events import DOCKER_STAGE, STAGE

HERE, AROUND = "127.0.0.1", "host.docker.internal"
NAMES = {"CONTENT_TABLE": "ContentTable", "DELIVERY_TABLE": "DeliveryTable", "ARCHIVE_BUCKET": "ArchiveBucket"}
"""The functions' variables by the template's outputs."""


def store_settings() -> None:
    """Stores every setting of the local stage for the containers' stage."""
    ssm = boto3.client("ssm")
    pages = ssm.get_paginator("get_parameters_by_path").paginate(
        Path=f"/buttersync/{STAGE}/", Recursive=True, WithDecryption=True
    )
    for setting in [setting for page in pages for setting in page["Parameters"]]:
        name = setting["Name"].replace(f"/{STAGE}/", f"/{DOCKER_STAGE}/", 1)
        value = setting["Value"].replace(HERE, AROUND)
        ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


def variables() -> Iterator[tuple[str, str]]:
    """What `sam local invoke` hands on from the shell; the rest stands in `env.json`."""
    (stack,) = boto3.client("cloudformation").describe_stacks(StackName=os.environ["STACK_NAME"])["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    yield "AWS_ENDPOINT_URL", os.environ["AWS_ENDPOINT_URL"].replace(HERE, AROUND)
    for name, output in NAMES.items():
        yield name, outputs[output]


def main() -> None:
    """Stores the settings and prints the exports."""
    store_settings()
    for name, value in variables():
        print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    main()
