"""What installs the tools keeps to this folder, and to what the person has set."""

import pytest

from sandbox.tools import LOCAL, environment


def test_what_is_downloaded_is_kept_in_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_CACHE_DIR", "PIP_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)

    assert environment()["UV_CACHE_DIR"] == str(LOCAL / "cache/uv")
    assert environment()["PIP_CACHE_DIR"] == str(LOCAL / "cache/pip")


def test_a_cache_that_the_person_has_set_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", "/somewhere/uv")

    assert environment()["UV_CACHE_DIR"] == "/somewhere/uv"


def test_uv_hears_what_the_person_told_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")

    assert environment()["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
