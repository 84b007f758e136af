"""The chart and example-values.yaml in; rendered.yaml out, for the tests, which have no Helm.

`python deploy/helm/render.py` needs Helm's engine: `pip install helm-python-sdk`, best in a virtual environment of its own.
Helm's command line does the same: `helm template framecap deploy/helm/framecap -f deploy/helm/example-values.yaml`.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
CHART = HERE / "framecap"
VALUES = HERE / "example-values.yaml"
RENDERED = HERE / "rendered.yaml"


def fingerprint() -> str:
    """A hash of all that rendered.yaml is made from."""
    digest = hashlib.sha256()
    for path in sorted([VALUES, *(path for path in CHART.rglob("*") if path.is_file())]):
        digest.update(f"{path.relative_to(HERE)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def main() -> None:
    import helm_python

    report = helm_python.lint(CHART, yaml.safe_load(VALUES.read_text()), strict=True)
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(yaml.safe_load(VALUES.read_text()))
        manifests = chart.render(yaml.safe_load(VALUES.read_text()), name="framecap")
    sys.stdout.write(f"Helm {helm_python.helm_sdk_version()}; lint says: {report}\n")
    head = f"# Made by deploy/helm/render.py from the chart with the hash\n# {fingerprint()}\n"
    parts = [text.strip() for name, text in sorted(manifests.items()) if not name.endswith(".tpl") and text.strip()]
    RENDERED.write_text(head + "".join(f"---\n{part}\n" for part in parts))


if __name__ == "__main__":
    main()
