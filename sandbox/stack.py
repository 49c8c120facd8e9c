"""The whole of buttersync on this machine: AWS emulated, a real PostgreSQL and OpenSearch, the vendors played.

``with Stack.start(home) as stack: ...``; from a terminal see `sandbox.local`.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import boto3
from botocore.config import Config

from sandbox import deployment, stores
from sandbox.emulator import KEY, NOTHING, REGION, Emulator, emulator
from sandbox.examples import example_site
from sandbox.postgres import Postgres
from sandbox.processes import SandboxError, orderly_end, undisturbed
from sandbox.progress import step
from sandbox.search import SearchServer
from sandbox.server import Sandbox
from sandbox.site import Site
from sandbox.stores import Store

WEBHOOK_SECRET = "sandbox-webhook-secret"  # noqa: S105  opens nothing but the sandbox
WEBHOOK_PATH = "webhooks/buttercms"

TARGETS = ("algolia", "opensearch", "postgres")
INDEX_PREFIX = "buttersync-sandbox-"
"""Keeps clear of what else is in an OpenSearch that runs already."""

URLS = {
    "PostUrl": "https://garden.example/{locale}/blog/{slug}",
    "PageUrl": "https://garden.example/{locale}/{page_type}/{slug}",
    "ItemUrl": "https://garden.example/{locale}/{collection}/{id}",
}

SETTINGS_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["ssm:GetParameters", "ssm:GetParametersByPath"], "Resource": "*"}],
}
"""ministack checks these two actions against `*`, AWS against the parameters that the template names."""


@dataclass(frozen=True)
class Stack:
    """A deployed stack and the servers around it."""

    home: Path
    emulator: Emulator
    sandbox: Sandbox
    postgres: Postgres
    search: SearchServer
    outputs: Mapping[str, str]
    """The outputs of the template."""
    webhook_url: str
    """Where `curl` reaches the webhook; the output WebhookUrl is the address that it would have on AWS."""
    webhook_secret: str = WEBHOOK_SECRET

    @property
    def logs(self) -> Path:
        """The folder of the servers' logs, and after the end of the functions' too."""
        return self.home / "logs"

    @property
    def variables(self) -> dict[str, str]:
        """What `.local/env` exports."""
        return {
            **self.emulator.variables,
            "STACK_NAME": deployment.stack_name(),
            "WEBHOOK_URL": self.webhook_url,
            "WEBHOOK_SECRET": self.webhook_secret,
            "SANDBOX_URL": self.sandbox.url,
            "ALGOLIA_ENDPOINT": self.sandbox.algolia_endpoint,
            "SEARCH_ENDPOINT": self.search.endpoint,
            "POSTGRES_DSN": self.postgres.dsn,
        }

    @property
    def stores(self) -> tuple[Store, ...]:
        """What the targets keep in step, to look into."""
        return (
            stores.postgres(self.postgres),
            stores.opensearch(self.search.endpoint, INDEX_PREFIX),
            stores.algolia(self.sandbox.algolia, self.sandbox.algolia_endpoint.split(",")[-1]),
        )

    def client(self, service: str) -> Any:
        """A boto3 client of the emulated AWS."""
        return client(self.emulator, service)

    def put_setting(self, owner: str, name: str, value: str) -> None:
        """Stores a setting in SSM, for example ``put_setting("butter", "read_token", …)``."""
        put_settings(self.emulator, {f"{owner}/{name}": value})

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """Invokes ``ingest``, ``resolve`` or a target and returns its answer; raises SandboxError if it broke down."""
        return invoke(self.emulator, function, event)

    def on_the_way(self) -> int:
        """How many messages are in the queues of resolve and the targets, waiting, hidden or being handled."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        urls = [self.outputs[f"{owner}QueueUrl"] for owner in ("resolve", *TARGETS)]
        answers = [self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names) for url in urls]
        return sum(int(answer["Attributes"][name]) for answer in answers for name in names)

    @classmethod
    @contextmanager
    def start(
        cls,
        home: Path,
        site: Site | None = None,
        parameters: Mapping[str, str] = NOTHING,
        variables: Mapping[str, str] = NOTHING,
    ) -> "Iterator[Stack]":
        """A stack for the site (the example site if None), its files under `home`; all of it ends with the block.

        `parameters` of the template other than the local stack's, `variables` for the environment of the emulated AWS.
        For the main thread. Raises SandboxError, whose text names the log to read.
        """
        with orderly_end(), ExitStack() as lock:
            lock.enter_context(_alone(home))
            servers = ExitStack()
            try:
                yield _started(home, site or example_site(), parameters, variables, servers)
            finally:
                with undisturbed(), step("Stopping what was started"):
                    servers.close()


def client(emulated: Emulator, service: str) -> Any:
    """A boto3 client of the emulated AWS."""
    session = boto3.Session(aws_access_key_id=KEY, aws_secret_access_key=KEY, region_name=REGION)
    return session.client(service, endpoint_url=emulated.endpoint, config=Config(retries={"total_max_attempts": 1}))


def put_settings(emulated: Emulator, settings: Mapping[str, str]) -> None:
    """Stores settings in SSM, by ``<owner>/<name>``."""
    ssm = client(emulated, "ssm")
    for name, value in settings.items():
        path = f"/buttersync/{deployment.stage()}/{name}"
        ssm.put_parameter(Name=path, Value=value, Type="SecureString", Overwrite=True)


def invoke(emulated: Emulator, function: str, event: Mapping[str, Any]) -> Any:
    """Invokes a function by its short name and returns its answer; raises SandboxError if it broke down."""
    name = f"buttersync-{deployment.stage()}-{function}"
    answer = client(emulated, "lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    payload = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise SandboxError(f"{function} broke down at {json.dumps(event)}: {payload}")
    return payload


def _started(
    home: Path, site: Site, parameters: Mapping[str, str], variables: Mapping[str, str], servers: ExitStack
) -> Stack:
    logs = home / "logs"
    with step("Starting AWS, PostgreSQL and the sandbox"):
        aws = servers.enter_context(emulator(home / "aws", logs / "ministack.log", variables))
        sandbox = servers.enter_context(Sandbox(site=site))
        postgres = servers.enter_context(Postgres(home / "postgres"))
        search = SearchServer(directory=home / "search")
        servers.callback(search.close)
        search.begin()
        aws.wait()
    with step("Building the functions (sam build)"):
        deployment.build(logs / "sam-build.log")
    with step("Deploying template.yaml (sam deploy)"):
        deployment.deploy(aws, {**_parameters(site), **parameters}, logs / "sam-deploy.log")
    servers.callback(_keep_logs, aws, logs)
    search.start()
    stores.wipe_opensearch(search.endpoint, INDEX_PREFIX)
    with step("Filling SSM, creating tables and indices"):
        _admit_reading_settings(aws)
        put_settings(aws, _settings(sandbox, postgres, search))
        _set_up(aws)
    outputs = _outputs(aws)
    return Stack(home, aws, sandbox, postgres, search, outputs, _webhook_url(aws))


def _parameters(site: Site) -> dict[str, str]:
    default = site.account.default_locale
    return {
        **URLS,
        "DefaultLocale": default,
        "Locales": ",".join(locale for locale in site.account.locales if locale != default),
        "PageTypes": ",".join(sorted(site.content.page_types)),
        "Collections": ",".join(sorted(site.content.collections)),
    }


def _settings(sandbox: Sandbox, postgres: Postgres, search: SearchServer) -> dict[str, str]:
    return {
        "algolia/app_id": sandbox.algolia.app_id,
        "algolia/api_key": sandbox.algolia.api_key,
        "algolia/endpoint": sandbox.algolia_endpoint,
        "butter/endpoint": sandbox.butter_endpoint,
        "butter/read_token": sandbox.butter.token,
        "butter/webhook_secret": WEBHOOK_SECRET,
        **_search_settings(urlsplit(search.endpoint)),
        "opensearch/index_prefix": INDEX_PREFIX,
        "postgres/dsn": postgres.dsn,
    }


def _search_settings(address: SplitResult) -> dict[str, str]:
    """The address, and who logs in there, if it says so."""
    endpoint = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
    if not address.username:
        return {"opensearch/endpoint": endpoint, "opensearch/auth": "none"}
    login = {"opensearch/username": unquote(address.username), "opensearch/password": unquote(address.password or "")}
    return {"opensearch/endpoint": endpoint, "opensearch/auth": "basic", **login}


def _set_up(aws: Emulator) -> None:
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda target: invoke(aws, target, {"command": "setup"}), TARGETS))
    for target, answer in zip(TARGETS, answers, strict=True):
        if not answer["ok"]:
            raise SandboxError(f"{target} could not be set up: {answer['message']}")


def _admit_reading_settings(aws: Emulator) -> None:
    iam = client(aws, "iam")
    for role in _resources(aws, "AWS::IAM::Role"):
        iam.put_role_policy(RoleName=role, PolicyName="local-settings", PolicyDocument=json.dumps(SETTINGS_POLICY))


def _resources(aws: Emulator, kind: str) -> list[str]:
    paginator = client(aws, "cloudformation").get_paginator("list_stack_resources")
    pages = paginator.paginate(StackName=deployment.stack_name())
    resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
    return [resource["PhysicalResourceId"] for resource in resources if resource["ResourceType"] == kind]


def _outputs(aws: Emulator) -> dict[str, str]:
    stacks = client(aws, "cloudformation").describe_stacks(StackName=deployment.stack_name())["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}


def _webhook_url(aws: Emulator) -> str:
    (api,) = _resources(aws, "AWS::ApiGateway::RestApi")
    return f"{aws.endpoint}/_aws/execute-api/{api}/{deployment.stage()}/{WEBHOOK_PATH}"


def _keep_logs(aws: Emulator, logs: Path) -> None:
    """What the functions logged, a file each, before the emulator ends and forgets it."""
    cloudwatch = client(aws, "logs")
    for group in cloudwatch.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
        pages = cloudwatch.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        lines = [event["message"].rstrip() for page in pages for event in page["events"]]
        (logs / f"{Path(group['logGroupName']).name}.log").write_text("\n".join([*lines, ""]))


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """An emptied `home`, which no other stack uses; raises SandboxError if one does."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            other = lock.read().strip()
            raise SandboxError(f"process {other} has a stack in {home}; end that one first: kill {other}") from None
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        shutil.rmtree(home, ignore_errors=True)
        for folder in ("aws", "logs"):
            (home / folder).mkdir(parents=True)
        yield
