"""The template as it is deployed by default, and with every option and one more target."""

import copy
from typing import Any

import pytest

from tests.template.expansion import Expanded, expand, load

OTHER = {
    "Changes": ["created"],
    "Batch": 1,
    "Window": 0,
    "Concurrency": 3,
    "Timeout": 30,
    "Visibility": 180,
    "Memory": 256,
}
"""The row of one more target, which needs nothing else."""

EVERY_OPTION = {
    "Stage": "staging",
    "Targets": "algolia,opensearch,postgres,other",
    "OpenSearchArn": "arn:aws:es:eu-west-1:123456789012:domain/garden",
    "BatchWindowSeconds": "60",
    "AlarmEmail": "gardener@garden.example",
    "AccessLogs": "yes",
    "IngestReservedConcurrency": "5",
    "SubnetIds": "subnet-1,subnet-2",
    "SecurityGroupIds": "sg-1",
}


def with_every_option(template: dict[str, Any]) -> Expanded:
    """A deployment of the template with one more row in the mapping, in a VPC, as large as the parameters allow."""
    larger = copy.deepcopy(template)
    larger["Mappings"]["Target"]["other"] = OTHER
    return expand(larger, **EVERY_OPTION)


@pytest.fixture
def template() -> dict[str, Any]:
    return load()


@pytest.fixture(params=["by default", "with every option"])
def stack(request: pytest.FixtureRequest, template: dict[str, Any]) -> Expanded:
    return expand(template) if request.param == "by default" else with_every_option(template)
