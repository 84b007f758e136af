"""Every precision updates the weights as it should; `apex` takes what is installed, and names what is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from framecap.errors import MissingError
from train.precision import Amp, choose

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]

FUSED_ADAM = """
import torch
class FusedAdam(torch.optim.AdamW):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), adam_w_mode=True, weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)
"""
OLD_AMP = """
from contextlib import contextmanager
said = []
def initialize(model, optimizer, opt_level, verbosity):
    said.append(opt_level)
    return model, optimizer
@contextmanager
def scale_loss(loss, optimizer):
    said.append("scaled")
    yield loss
def master_params(optimizer):
    return (p for group in optimizer.param_groups for p in group["params"])
def state_dict():
    return {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 1}}
def load_state_dict(state):
    said.append(state["loss_scaler0"]["loss_scale"])
"""
TRAIN_A_LITTLE = """
import sys, torch
from framecap.errors import FramecapError
from train.precision import choose
try:
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
    print(precision.name, "|", type(optimizer).__name__, "|", getattr(sys.modules.get("apex.amp"), "said", None))
except FramecapError as error:
    print(error)
    sys.exit(error.exit_code)
"""


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


def with_apex(folder: Path, files: dict[str, str]) -> tuple[int, str]:
    """Train a little with `amp: apex` where this is what `import apex` finds."""
    for name, text in files.items():
        path = folder / "apex" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environment = {"PYTHONPATH": f"{folder}:{ROOT}", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_A_LITTLE], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_without_apex_it_says_where_it_comes_ready() -> None:
    with pytest.raises(MissingError, match=r"NVIDIA Apex is not installed: NVIDIA's PyTorch container has it ready"):
        choose("apex", CPU)


def test_pypis_apex_is_named_and_never_imported(tmp_path: Path) -> None:
    """Its layout: a Pyramid application. That it is not imported is the point of the line that would leave a trace."""
    trace = tmp_path / "imported"
    code = f"open({str(trace)!r}, 'w')\nfrom pyramid.session import UnencryptedCookieSessionFactoryConfig\n"
    status, said = with_apex(tmp_path, {"__init__.py": code, "models.py": "", "views.py": "", "lib/__init__.py": ""})
    assert status == 3
    assert "is not NVIDIA's Apex (PyPI's `apex` is an unrelated web toolkit): pip uninstall apex" in said
    assert not trace.exists()


def test_todays_apex_gives_its_fused_optimizer(tmp_path: Path) -> None:
    status, said = with_apex(tmp_path, {"__init__.py": "", "optimizers/__init__.py": FUSED_ADAM})
    assert status == 0
    assert said.startswith("apex's FusedAdam, ")
    assert "| FusedAdam | None" in said


def test_old_apex_gives_its_amp_too(tmp_path: Path) -> None:
    files = {"__init__.py": "", "optimizers/__init__.py": FUSED_ADAM, "amp/__init__.py": OLD_AMP}
    status, said = with_apex(tmp_path, files)
    assert (status, said) == (0, "apex.amp O1, apex's FusedAdam | FusedAdam | ['O1', 65536.0, 'scaled']\n")


@pytest.mark.parametrize(
    ("optimizers", "said"),
    [
        ("class FusedAdam:\n    def __init__(self, *_, **__):\n        raise RuntimeError('it requires cuda extensions')",
         "it requires cuda extensions: NVIDIA's PyTorch container has it ready"),
        ("import amp_C_is_not_built", "it is installed but broken (No module named 'amp_C_is_not_built')"),
    ],
)  # fmt: skip
def test_half_an_apex_is_missing_too(tmp_path: Path, optimizers: str, said: str) -> None:
    status, output = with_apex(tmp_path, {"__init__.py": "", "optimizers/__init__.py": optimizers})
    assert status == 3
    assert said in output
