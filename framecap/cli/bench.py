"""`framecap bench`: a configuration and a size in; the table, or its JSON, printed."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path

import framecap
from framecap.bench.parts import Size
from framecap.bench.run import measure
from framecap.bench.table import draw
from framecap.config import Config


def bench(config: Config, size: Size, source: Path | None, as_json: bool) -> int:
    """Measure and show; marks that are missed are shown, and are no failure."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # its processes end and its frames go, as after Ctrl-C
    with tempfile.TemporaryDirectory(prefix="framecap-bench-") as folder:
        head, sections = measure(config, size, source, Path(folder))
    if as_json:
        figures = [figure.as_json() for section in sections for figure in section.figures]
        print(json.dumps({"framecap": framecap.__version__, "measured": head, "figures": figures}, indent=1))
    else:
        print(draw(head, sections))
    return 0
