"""Every precision updates the weights as it should; `apex` takes what is installed, and names what is wrong with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from framecap.errors import MissingError
from train.training.precision import Amp, choose

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]

FUSED_ADAM = """
import torch
class FusedAdam(torch.optim.AdamW):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), adam_w_mode=True, weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)
    def zero_grad(self):  # as today's: no set_to_none
        super().zero_grad()
"""
OLD_AMP = """
from contextlib import contextmanager
reported = []
def initialize(model, optimizer, opt_level, verbosity):
    reported.append(opt_level)
    return model, optimizer
@contextmanager
def scale_loss(loss, optimizer):
    reported.append("scaled")
    yield loss
def master_params(optimizer):
    return (p for group in optimizer.param_groups for p in group["params"])
def state_dict():
    return {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 1}}
def load_state_dict(state):
    reported.append(state["loss_scaler0"]["loss_scale"])
"""
TRAIN_A_LITTLE = """
import json, os, sys, torch
from pathlib import Path
from framecap.errors import FramecapError
from train.training.precision import choose

def train():
    precision = choose("apex", torch.device("cpu"))
    model = torch.nn.Linear(2, 1)
    optimizer = precision.optimizer([{"params": list(model.parameters()), "weight_decay": 0.01, "lr": 0.1}])
    model, optimizer = precision.prepare(model, optimizer)
    precision.restore(precision.state())
    before = model.weight.detach().clone()
    with precision.forward():
        loss = model(torch.ones(3, 2)).float().square().mean()
    precision.update(loss, optimizer, 5.0)
    assert not torch.equal(before, model.weight)
    print(precision.name, "|", type(optimizer).__name__, "|", getattr(sys.modules.get("apex.amp"), "reported", None))

for folder in sorted(Path(sys.argv[1]).iterdir()):
    child = os.fork()  # the libraries are loaded once
    if child == 0:
        sys.path.insert(0, str(folder))
        status = 1
        try:
            with (folder / "reported").open("w") as sys.stdout:
                try:
                    train()
                    status = 0
                except FramecapError as error:
                    print(error)
                    status = error.exit_code
        finally:
            os._exit(status)
    (folder / "status").write_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""
APEXES = {
    "pypi": {
        "__init__.py": "open('imported', 'w')\nfrom pyramid.session import UnencryptedCookieSessionFactoryConfig",
        "models.py": "",
        "views.py": "",
        "lib/__init__.py": "",
    },
    "today": {"__init__.py": "", "optimizers/__init__.py": FUSED_ADAM},
    "old": {"__init__.py": "", "optimizers/__init__.py": FUSED_ADAM, "amp/__init__.py": OLD_AMP},
    "without-cuda": {
        "__init__.py": "",
        "optimizers/__init__.py": "def FusedAdam(*_, **__):\n    raise RuntimeError('FusedAdam requires cuda extensions')",
    },
    "broken": {"__init__.py": "", "optimizers/__init__.py": "import amp_C_is_not_built"},
}


@pytest.fixture(scope="module")
def apexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with `amp: apex` for each of these, where `import apex` finds it; what it said and how it ended."""
    folder = tmp_path_factory.mktemp("apexes")
    for name, files in APEXES.items():
        for file, text in files.items():
            path = folder / name / "apex" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_A_LITTLE, folder],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def step(amp: Amp) -> tuple[nn.Linear, float]:
    """One update of a small model; its gradient's norm."""
    torch.manual_seed(1)
    model = nn.Linear(4, 1)
    precision = choose(amp, CPU)
    optimizer = precision.optimizer([{"params": list(model.parameters()), "weight_decay": 0.0, "lr": 0.1}])
    with precision.forward():
        output = model(torch.arange(8.0).view(2, 4))
    norm = precision.update(output.float().square().mean() / 100, optimizer, 0.01)
    return model, norm


@pytest.mark.parametrize("amp", ["bf16", "fp16", "auto"])
def test_half_precision_steps_nearly_as_full_precision_does(amp: Amp) -> None:
    """The gradient's norm is the unscaled one, before it was clipped."""
    (expected, norm), (found, found_norm) = step("fp32"), step(amp)
    assert norm > 0.02
    assert found_norm == pytest.approx(norm, rel=0.05)
    torch.testing.assert_close(found.weight, expected.weight, rtol=0.02, atol=0.02)
    assert found.weight.dtype == torch.float32


@pytest.mark.parametrize(("amp", "kind"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)])
def test_the_forward_pass_runs_in_its_type(amp: Amp, kind: torch.dtype) -> None:
    with choose(amp, CPU).forward():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == kind


def test_a_pytorch_that_does_not_know_its_cpu_trains_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose("auto", CPU).name == "fp32"


def test_an_overflow_in_fp16_leaves_the_step_out_and_halves_the_scale() -> None:
    precision = choose("fp16", CPU)
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    optimizer = precision.optimizer([{"params": list(model.parameters()), "weight_decay": 0.0, "lr": 0.1}])
    scale = precision.state()["scale"]
    precision.update((model(torch.ones(1, 2)) * 1e38).sum(), optimizer, 1.0)
    assert torch.equal(before, model.weight)
    assert precision.state()["scale"] == scale / 2
    again = choose("fp16", CPU)
    again.restore(precision.state())
    assert again.state() == precision.state()


def test_without_apex_it_says_where_it_comes_ready() -> None:
    with pytest.raises(MissingError, match=r"NVIDIA Apex is not installed: NVIDIA's PyTorch container has it ready"):
        choose("apex", CPU)


@pytest.mark.parametrize(
    ("name", "status", "reported"),
    [
        ("pypi", 3, "is not NVIDIA's Apex (PyPI's `apex` is an unrelated web toolkit): pip uninstall apex"),
        ("today", 0, "apex's FusedAdam, "),
        ("today", 0, "| FusedAdam | None"),
        ("old", 0, "apex.amp O1, apex's FusedAdam | FusedAdam | ['O1', 65536.0, 'scaled']"),
        ("without-cuda", 3, "FusedAdam requires cuda extensions: NVIDIA's PyTorch container has it ready"),
        ("broken", 3, "it is installed but broken (No module named 'amp_C_is_not_built'): NVIDIA's PyTorch container"),
    ],
)
def test_apex_takes_what_is_installed_or_says_what_is_missing(apexes: Path, name: str, status: int, reported: str) -> None:
    assert reported in (apexes / name / "reported").read_text()
    assert int((apexes / name / "status").read_text()) == status


def test_pypis_apex_is_never_imported(apexes: Path) -> None:
    """It would run a stranger's code: this one would leave a file."""
    assert not list(apexes.parent.rglob("imported"))
