"""The locks: hashed, free of registry addresses, and one version of a package wherever it is bundled."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = sorted([*ROOT.glob("layers/*/requirements.txt"), *ROOT.glob("functions/*/requirements.txt")])
LOCKS = [*sorted(ROOT.glob("requirements/*.txt")), *BUNDLED]

REQUIREMENT = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def versions(lock: Path) -> set[tuple[str, str]]:
    """Each package of a lock with its version; one that depends on the interpreter has several."""
    return set(REQUIREMENT.findall(lock.read_text()))


@pytest.mark.parametrize("lock", BUNDLED, ids=shown)
def test_what_is_bundled_is_what_was_tested(lock: Path) -> None:
    assert versions(lock) <= versions(ROOT / "requirements" / "dev.txt"), "run: make lock"


@pytest.mark.parametrize("lock", BUNDLED, ids=shown)
def test_a_bundle_leaves_boto3_to_the_runtime(lock: Path) -> None:
    assert not {"boto3", "botocore"} & {name for name, _ in versions(lock)}


@pytest.mark.parametrize("lock", LOCKS, ids=shown)
def test_every_requirement_has_a_version_and_a_hash(lock: Path) -> None:
    requirements = re.sub(r" \\\n\s+", " ", lock.read_text()).splitlines()
    plain = [line for line in requirements if line and not line.startswith("#")]

    assert [line for line in plain if not REQUIREMENT.match(line) or "--hash=sha256:" not in line] == []


@pytest.mark.parametrize("lock", LOCKS, ids=shown)
def test_no_lock_names_a_registry(lock: Path) -> None:
    assert "://" not in lock.read_text()


def test_each_wanted_package_is_locked() -> None:
    wanted = ROOT.glob("*/*/requirements.in")
    lines = [line for path in wanted for line in path.read_text().splitlines() if line and line[0] != "#"]
    names = {re.split("[<>=]", line)[0].strip() for line in lines}

    locked = {name for name, _ in versions(ROOT / "requirements" / "dev.txt")}

    assert names
    assert names <= locked
