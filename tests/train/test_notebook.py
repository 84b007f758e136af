"""train/explore.ipynb holds no outputs, and runs from its first cell to its last on a small data set."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.train.synthetic import CONFIG, HERE, plain_model
from train.data.batches import TrainingData
from train.data.dataset import DataFolder
from train.training.fit import fit

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "train" / "explore.ipynb"


def test_the_notebook_is_committed_without_outputs() -> None:
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


def test_the_notebook_runs(
    folder: DataFolder, material: TrainingData, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(CONFIG, material, plain_model(CONFIG, folder), tmp_path / "run", HERE)
    names = {"DATA": str(folder.path), "RUN": str(tmp_path / "run"), "BUNDLE": str(tiny_bundle), "SPLIT": "VAL", "PHOTOS": 4}
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (given,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    assert [line.partition(" ")[0] for line in given.source.splitlines()] == list(names)
    given.source = "\n".join(f"{name} = {value!r}" for name, value in names.items())
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert "36 photos" in "".join(output.get("text", "") for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 8
