"""What the README says of the tests and of the template is true."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_every_test_that_the_readme_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", README)
    assert len(named) > 10

    for file, test in named:
        assert f"def {test}" in (ROOT / file).read_text(), f"{file}::{test}"


def test_every_parameter_of_the_template_is_in_the_readme() -> None:
    parameters = re.findall(r"^  (\w+):$", (ROOT / "template.yaml").read_text().split("\nMappings:")[0], re.MULTILINE)
    table = README.split("## Parameters")[1].split("\n## ")[0]

    assert len(parameters) > 15
    assert [name for name in parameters if f"`{name}`" not in table] == []


def test_every_page_that_is_linked_is_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "events").glob("*.md")]

    for page in pages:
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        assert [link for link in links if not (page.parent / link).exists()] == [], page
