"""Tests that need a Debian package: skipped where it is not installed, with its name; a failure in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def needs_package(package: str, path: str | Path) -> Path:
    """The path, when the package that brings it is installed; else the test is skipped (CI=true: fails)."""
    if Path(path).exists():
        return Path(path)
    message = f"needs the Debian package {package}: apt-get install {package} ({path} is not there)"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
