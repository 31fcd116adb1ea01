"""Whether there is a source checkout around the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope_codec.cli import checkout


def test_here_is_one() -> None:
    assert checkout.is_checkout()
    assert (checkout.DEVSTACK.parent / "pyproject.toml").is_file()


def test_an_installed_package_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "localstack").mkdir()  # the folder of a package of that name
    monkeypatch.setattr(checkout, "DEVSTACK", tmp_path / "localstack")
    assert not checkout.is_checkout()
