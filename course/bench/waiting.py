"""What waiting threads cost, alone and beside a busy process; part of `make bench`.

While one of torch's threads has lost its core to another program, others wait for it. By default
libgomp lets them spin meanwhile, which keeps that core busy; `nbhelpers/waiting_threads.pth` makes
that shorter. A training step is timed with libgomp's own setting, with ours, and with one thread.
"""

import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext

import torch
from common import busy, write
from torch.nn import functional

from nbhelpers import networks, profile, small_maps

SETTINGS = {  # of libgomp; no other OpenMP library is timed here
    "as it comes": {"GOMP_SPINCOUNT": "300000"},
    "ours": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
# Images of a batch, their side.
NETWORKS = {"three_layers": (256, 28), "lenet": (256, 28), "compact_cnn": (128, 32)}
SECONDS = 2  # of training, for each number
ROUNDS = 2  # in turn, since a machine's speed drifts


def main() -> None:
    """Time every network with every setting, print a table and write it to results/."""
    run = profile.current()
    if run.device.type != "cpu" or sys.platform != "linux":
        raise SystemExit("Only libgomp's threads are timed: on Linux, on a CPU (NB_DEVICE=cpu).")
    print(f"{'milliseconds a step':<22}{'beside':<16}" + "".join(f"{s:>14}" for s in SETTINGS))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in NETWORKS:
        for beside, other in (("nothing", nullcontext()), ("a busy process", busy())):
            with other:
                times = {setting: [] for setting in SETTINGS}
                for _ in range(ROUNDS):
                    for setting, values in times.items():
                        values.append(_in_a_process(name, SETTINGS[setting]))
            medians = {setting: statistics.median(values) for setting, values in times.items()}
            found.setdefault(name, {})[beside] = medians
            print(f"{name:<22}{beside:<16}" + "".join(f"{v:>14.1f}" for v in medians.values()))
    write(f"waiting-{str(run.precision).removeprefix('torch.')}", run, milliseconds_a_step=found)


def _in_a_process(name: str, setting: dict[str, str]) -> float:
    command = [sys.executable, __file__, name]
    return float(subprocess.check_output(command, env=os.environ | setting, text=True))


def _step_times(name: str) -> float:
    run = profile.current()
    images, side = NETWORKS[name]
    model = small_maps.fast_on_small_maps(networks.ARCHITECTURES[name](10))
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    inputs = torch.rand(images, 1, side, side)
    labels = torch.randint(0, 10, (images,))
    seconds, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        with torch.autocast("cpu", run.precision, enabled=run.precision != torch.float32):
            logits = model(inputs)
        optimizer.zero_grad()
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.mean(seconds[3:])  # the first few warm up


if __name__ == "__main__":
    if sys.argv[1:]:
        print(_step_times(sys.argv[1]))
    else:
        main()
