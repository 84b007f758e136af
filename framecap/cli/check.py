"""`framecap check`: a configuration in; what it is, what works, what is missing and how to get it, printed."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version

import numpy as np

import framecap
from framecap.config import CaptioningConfig, Config, masked_yaml
from framecap.errors import FramecapError
from framecap.stores.base import ProbeFinding, Store
from framecap.telemetry import mask

_LIBRARIES = {"cv2": "opencv-python-headless", "onnxruntime": "onnxruntime", "watchdog": "watchdog"}


def check(config: Config, every_setting: bool = False) -> int:
    """Print everything; the exit code of the worst finding: wrong configuration, something missing, something failed."""
    _settings(config, every_setting)
    sections: dict[str, Callable[[Config], Iterator[ProbeFinding]]] = {
        "this machine": _machine,
        "sources": _sources,
        "store": _store,
        "model": _model,
        "second look": _second_look,
        "events": _events,
    }
    exit_codes = {_section(title, look, config) for title, look in sections.items()}
    worst = next((code for code in (2, 3, 1) if code in exit_codes), 0)
    print("\neverything is ready" if worst == 0 else "\nnot ready: see the lines that begin with NO")
    return worst


def _settings(config: Config, every: bool) -> None:
    if every:
        print("# every setting")
        print(masked_yaml(config), end="")
        return
    others = masked_yaml(config, only_others=True)
    print(
        f"# {'settings that are not the defaults' if others else 'every setting is its default'} (all: framecap check --all)"
    )
    print(others, end="")


def _section(title: str, look: Callable[[Config], Iterator[ProbeFinding]], config: Config) -> int:
    print(f"\n{title}:")
    exit_code = 0
    try:
        for finding in look(config):
            print(mask(f"  {'yes' if finding.ok else 'NO '} {finding.what}: {finding.meaning}"))
            exit_code = exit_code or (0 if finding.ok else 1)
    except FramecapError as error:
        print(mask(f"  NO  {error}"))
        return error.exit_code
    except ImportError as error:
        print(mask(f"  NO  {error}: pip install --force-reinstall framecap"))
        return 3
    return exit_code


def _machine(config: Config) -> Iterator[ProbeFinding]:
    yield ProbeFinding("framecap", True, f"{framecap.__version__}, Python {platform.python_version()}, {platform.machine()}")
    for module, package in _LIBRARIES.items():
        import_module(module)
        yield ProbeFinding(package, True, version(package))


def _sources(config: Config) -> Iterator[ProbeFinding]:
    from framecap.capture.plan import make_plans

    if not config.capture.cameras:
        yield ProbeFinding("cameras", True, "none configured (capture.cameras); `framecap run SOURCE` needs none")
        return
    for plan in make_plans(config.capture):
        there = not plan.source.unplugged
        how = "not opened" if there else "not there: capture tries it until it is plugged in"
        yield ProbeFinding(plan.name, there, f"{plan.source.shown} ({plan.source.kind.value}; {how})")


def _store(config: Config) -> Iterator[ProbeFinding]:
    from framecap.stores import open_store

    store = open_store(config.store)
    yield ProbeFinding("open", True, store.address)
    yield from store.probe()
    yield ProbeFinding("new frames", True, _how_new_frames_are_found(store))


def _how_new_frames_are_found(store: Store) -> str:
    if store.hints:
        return "seen at once (file-system events)"
    if store.directory is None:
        return "found by listing the bucket from each camera's newest frame on, or told of by a queue (ingest.queue)"
    return "found by scans: events do not tell of everything on a mount"


def _events(config: Config) -> Iterator[ProbeFinding]:
    from framecap.events.engine import action_names, make_action
    from framecap.events.rules import make_rules

    rules = make_rules(config.events)
    if not rules:
        yield ProbeFinding("rules", True, "none (events.rules)")
    for rule, name, action in action_names(config.events):
        made = make_action(action, config.events, config.store.s3, f"rule {rule!r}: {action.kind}")
        made.close()
        if action.command is not None and shutil.which(action.command.argv[0]) is None:
            yield ProbeFinding(name, False, f"{action.command.argv[0]!r} is not there or not executable")
        else:
            yield ProbeFinding(name, True, f"{made.target} (nothing was sent)")


def _second_look(config: Config) -> Iterator[ProbeFinding]:
    if config.refine.captioner is None:
        yield ProbeFinding("refine.captioner", True, "none (framecap refine needs one)")
    else:
        yield from _captioner(config.refine.captioner)


def _model(config: Config) -> Iterator[ProbeFinding]:
    yield from _captioner(config.captioning)


def _captioner(config: CaptioningConfig) -> Iterator[ProbeFinding]:
    from framecap.captioning.load import load_captioner

    captioner = load_captioner(config)
    model = captioner.model
    known = "whole" if config.kind == "bundle" else "not looked into"
    yield ProbeFinding(config.kind, True, f"{model.name}, {known} ({model.bundle_hash[:12]}...)")
    size = captioner.image_size
    (answer,) = captioner.caption(np.full((1, size, size, 3), 127, np.uint8))
    if isinstance(answer, FramecapError):
        raise answer
    yield ProbeFinding("caption a grey image", not isinstance(answer, Exception), f"runtime {model.runtime}")
