"""template.yaml as CloudFormation sees it after the loops, the parameters and the conditions.

What only a deployment knows stands as text: ``${Topic}`` for a `Ref`, ``${Topic.Arn}`` for a `GetAtt`.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
NO_VALUE = "${AWS::NoValue}"


class _Loader(yaml.SafeLoader):
    """Reads ``!Sub x`` as ``{"Fn::Sub": x}``."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        raise TypeError(f"!{suffix} of a mapping is not expected here")
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


def load() -> dict[str, Any]:
    """The template as it is written; a fresh copy that a test may change."""
    return copy.deepcopy(_read())


@cache
def _read() -> dict[str, Any]:
    template: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)  # noqa: S506 it is a safe one
    return template


@dataclass(frozen=True)
class Expanded:
    """The resources and outputs that a deployment with these parameters would have."""

    parameters: Mapping[str, Any]
    resources: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    globals: Mapping[str, Any]

    @property
    def targets(self) -> list[str]:
        """The names in the parameter Targets."""
        names: list[str] = self.parameters["Targets"]
        return names

    def of_type(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """The properties of all resources of that type, by their names."""
        return {name: body.get("Properties", {}) for name, body in self.resources.items() if body["Type"] == kind}

    def properties(self, name: str) -> Mapping[str, Any]:
        """The properties of one resource."""
        properties: Mapping[str, Any] = self.resources[name]["Properties"]
        return properties


def expand(template: Mapping[str, Any], **parameters: str) -> Expanded:
    """The template with these parameters and the defaults of the others."""
    values = {name: _typed(it, parameters.get(name, it["Default"])) for name, it in template["Parameters"].items()}
    scope = _Scope(values, template["Mappings"])
    for name, condition in template["Conditions"].items():
        scope.conditions[name] = scope.value(condition)
    resources, outputs = scope.value(template["Resources"]), scope.value(template["Outputs"])
    alive = {name: body for name, body in resources.items() if scope.conditions.get(body.get("Condition", ""), True)}
    return Expanded(values, alive, outputs, scope.value(template["Globals"]))


def _typed(declared: Mapping[str, Any], value: Any) -> Any:
    return str(value).split(",") if declared["Type"] == "CommaDelimitedList" else value


@dataclass(frozen=True)
class _Scope:
    values: Mapping[str, Any]
    mappings: Mapping[str, Any]
    conditions: dict[str, bool] = field(default_factory=dict)

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value != NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(name, argument)] = node.items()
            if name in self._functions and (name != "Condition" or isinstance(argument, str)):
                return self._functions[name](argument)
        return {key: value for key, value in self._members(node) if value != NO_VALUE}

    def _members(self, node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if key.startswith("Fn::ForEach::"):
                yield from self._repeated(*value)
            else:
                yield self._substituted(key), self.value(value)

    def _repeated(self, variable: str, collection: Any, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for item in self.value(collection):
            yield from _Scope({**self.values, variable: item}, self.mappings, self.conditions).value(body).items()

    @property
    def _functions(self) -> Mapping[str, Callable[[Any], Any]]:
        return {
            "Ref": lambda name: self.values.get(self.value(name), f"${{{self.value(name)}}}"),
            "Condition": lambda name: self.conditions[name],
            "Fn::Sub": self._substituted,
            "Fn::GetAtt": lambda it: f"${{{self.value(it[0])}.{it[1]}}}",
            "Fn::FindInMap": self._found,
            "Fn::If": lambda it: self.value(it[1] if self.conditions[it[0]] else it[2]),
            "Fn::Equals": lambda it: self.value(it[0]) == self.value(it[1]),
            "Fn::Not": lambda it: not self.value(it[0]),
            "Fn::Join": lambda it: it[0].join(self.value(it[1])),
            "Fn::Select": lambda it: self.value(it[1])[it[0]],
        }

    def _substituted(self, text: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda match: str(self.values.get(match[1], match[0])), text)

    def _found(self, arguments: list[Any]) -> Any:
        table, row, column, *default = arguments
        cells = self.mappings[table][self.value(row)]
        if column not in cells and default:
            return self.value(default[0]["DefaultValue"])
        return cells[column]
