"""A bundle and images in; how near the captioner comes to what the GPU can do, as JSON, out. Needs a CUDA device.

    python -m benchmarks.gpu PHOTO.jpg ... --bundle default --batch 128

Measured are the encoder alone (what is done once a frame, as one CUDA graph played over and over), the captioner with one
batch at a time and with as many as it has lanes, the naive loop on the same GPU, where the GPU's time goes, what starting
costs, and a saturated `framecap work --once`, while NVIDIA's own counter says how much of the time the GPU had work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.naive_loop import NaiveLoop
from framecap.bench.gpu import GpuMonitor, in_use, saturated
from framecap.captioning.bundle import open_bundle
from framecap.captioning.caption import Caption, Captioner, Images
from framecap.captioning.captioner import BundleCaptioner
from framecap.captioning.lanes import in_every_lane
from framecap.captioning.runtimes.pytorch import TorchRuntime
from framecap.config import CaptioningConfig
from framecap.decoding.preprocess import Preprocessing, decode

MAX_PIXELS = 10**8
SECONDS = 2.0  # that a rate is measured for


def rate(work: Callable[[], int], seconds: float = SECONDS) -> float:
    """Frames a second of `work`, which says how many it did, one after the other."""
    work()
    torch.cuda.synchronize()
    started, frames = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        frames += work()
    torch.cuda.synchronize()
    return frames / (time.perf_counter() - started)


def encoder_rate(runtime: TorchRuntime, images: Images) -> float:
    """Frames a second of all that is done once a frame, from the GPU's memory, in batches of `images`."""
    image_files = torch.from_numpy(images).cuda()
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        runtime._encode(image_files)
        stream.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            kept = runtime._encode(image_files)
        frames = rate(lambda: (graph.replay(), len(images))[1])
    del kept
    return frames


def captioner_rate(captioner: Captioner, images: Images, lanes: int) -> float:
    """Frames a second of the captioner, called by `lanes` threads, each with batches of `images`."""
    for _ in range(2):
        in_every_lane(lanes, lambda: captioner.caption(images))
    started = time.perf_counter()

    def loop() -> int:
        frames = 0
        while time.perf_counter() - started < SECONDS:
            frames += len(captioner.caption(images))
        return frames

    frames = sum(in_every_lane(lanes, loop))
    return frames / (time.perf_counter() - started)


def texts(captioner: Captioner, images: Images, batch: int) -> list[str | None]:
    answers = [one for start in range(0, len(images), batch) for one in captioner.caption(images[start : start + batch])]
    return [one.text if isinstance(one, Caption) else None for one in answers]


def where_time_goes(captioner: Captioner, images: Images, rows: int = 25) -> dict[str, Any]:
    """Milliseconds of GPU time of one batch by kernel, the longest first; how long the GPU worked, and of what time."""
    captioner.caption(images)
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        started = time.perf_counter()
        captioner.caption(images)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    times: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in profiled.events():
        times[event.name] += event.device_time / 1000
        calls[event.name] += 1
    longest = [{"ms": round(ms, 3), "calls": calls[name], "kernel": name[:110]} for name, ms in times.most_common(rows)]
    return {"wall_ms": 1000 * seconds, "kernel_ms": sum(times.values()), "kernels": sum(calls.values()), "longest": longest}


def end_to_end(image_files: Sequence[bytes], count: int, workers: int, settings: Sequence[str]) -> dict[str, Any]:
    """`framecap work --once` over `count` frames by `workers` processes, each with its share, all on this GPU."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="framecap-") as name:
        folder = Path(name)
        for number in range(count):
            (folder / f"{number:06}.jpg").write_bytes(image_files[number % len(image_files)])
        command = [sys.executable, "-m", "framecap", "work", "--once", "--frames", name]
        settings = [*settings, "--set", f"worker.decoders={max(1, (os.cpu_count() or 1) // workers)}"]
        with GpuMonitor(in_use()) as watched:
            started = time.monotonic()
            processes = [
                subprocess.Popen(
                    [*command, *settings, *(["--shard", f"{n + 1}/{workers}"] if workers > 1 else [])],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                for n in range(workers)
            ]
            outputs = [process.communicate()[0] for process in processes]
            seconds = time.monotonic() - started
        commits = [path.stat().st_mtime for path in folder.glob("*.json")]
    if not commits:
        raise SystemExit(f"benchmarks.gpu: no frame got a sidecar: {outputs}")
    begin, end = saturated(commits)
    return {
        "workers": workers,
        "frames": count,
        "sidecars": len(commits),
        "seconds_with_start": seconds,
        "frames_per_second": sum(begin < commit <= end for commit in commits) / (end - begin) if end > begin else 0.0,
        "gpu_busy": watched.busy(commits),
        "summaries": [output.strip().splitlines()[-1:] for output in outputs],
    }


def machine() -> dict[str, Any]:
    """The GPU's name, bf16, fp16 and fp32 matrix rates (8192 cubed, random numbers) and its copy bandwidth."""
    found: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cores": os.cpu_count()}
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        left, right = (torch.randn(8192, 8192, device="cuda").to(kind) for _ in range(2))
        found[f"{kind} TFLOP/s"] = rate(lambda left=left, right=right: (left @ right, 1)[1], 0.5) * 2 * 8192**3 / 1e12
    memory = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    found["copy GB/s"] = rate(lambda: (memory.clone(), 1)[1], 0.5) * 2 * (1 << 30) / 1e9
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--max-words", type=int, default=24)
    parser.add_argument("--batch", type=int, nargs="+", default=[128])
    parser.add_argument("--naive", type=int, default=100, help="images that the naive loop captions")
    parser.add_argument("--end-to-end", type=int, default=0, help="frames of a saturated run")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="processes of a saturated run")
    parser.add_argument("--texts", type=Path, help="a file for the captions of all images")
    options = parser.parse_args()
    say: Callable[..., None] = lambda **row: print(json.dumps(row), flush=True)  # noqa: E731
    say(**machine())
    data = [path.read_bytes() for path in options.images]
    config = CaptioningConfig(
        bundle=options.bundle, runtime="torch", precision=options.precision, max_words=options.max_words
    )
    started = time.perf_counter()
    bundle = open_bundle(options.bundle)
    runtime = TorchRuntime(bundle, torch.device("cuda"), 0, options.precision)
    captioner = BundleCaptioner(bundle, runtime, config)
    loaded = time.perf_counter()
    size = Preprocessing(captioner.image_size)
    images = np.stack([decode(one, size, MAX_PIXELS).pixels for one in data])
    decoded = time.perf_counter()
    captioner.caption(images[:1])
    first = time.perf_counter()
    captioner.caption(np.resize(images, (options.batch[0], *images.shape[1:])))
    say(
        runtime=runtime.name,
        load_s=loaded - started,
        decode_ms=1000 * (decoded - loaded) / len(data),
        first_image_s=first - decoded,
        first_batch_s=time.perf_counter() - first,
    )
    for batch in options.batch:
        some = np.resize(images, (batch, *images.shape[1:]))
        encoder = encoder_rate(runtime, some)
        one, all_lanes = (captioner_rate(captioner, some, lanes) for lanes in (1, runtime.lanes))
        say(batch=batch, encoder=encoder, captioner_one_lane=one, captioner=all_lanes, ratio=all_lanes / encoder)
    say(profile=where_time_goes(captioner, np.resize(images, (options.batch[0], *images.shape[1:]))))
    if options.naive:
        loop = NaiveLoop(bundle, config, "cuda")
        loop.run(data[:2])
        naive = loop.run(data[: options.naive])
        ours = texts(captioner, images, options.batch[0])
        same = sum(one == other for one, other in zip(ours, naive.captions, strict=False))
        say(naive=len(naive.captions) / naive.caption_seconds, same=same, of=len(naive.captions))
        if options.texts:
            options.texts.write_text(json.dumps({"ours": ours, "naive": naive.captions}))
    say(memory_gb=torch.cuda.max_memory_allocated() / 1e9)
    if options.end_to_end:
        del captioner, runtime
        torch.cuda.empty_cache()
        settings = ["--set", "captioning.runtime=torch"]
        for key in ("bundle", "precision", "max_words"):
            settings += ["--set", f"captioning.{key}={getattr(options, key)}"]
        for workers in options.workers:
            say(**end_to_end(data, options.end_to_end, workers, settings))


if __name__ == "__main__":
    main()
