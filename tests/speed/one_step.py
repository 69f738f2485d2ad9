"""One form of the joint step in a process of its own: python tests/speed/one_step.py plain|fast SIDE BATCH THREADS."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1]))  # behind this folder: both have a conftest.py
from plain import plain_joint_loss
from test_step import CLASSES, make_batch, make_step

from bench import registry
from bench.base.machine import keep_freed_memory, peak_in_mebibytes
from bench.learning.networks import AutoencodingNetwork, Backbone

form, side, n, threads = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
if form == "fast":
    keep_freed_memory()
network, batch = AutoencodingNetwork(Backbone(side, CLASSES)), make_batch(n, side)
loss = registry.method("autoencoding").loss if form == "fast" else plain_joint_loss
step = make_step(network.parameters(), lambda: loss(network, batch), fused=form == "fast")
seconds = []
for _ in range(4):
    began = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - began)
best = min(seconds)
print(f"{form} {side}³ batch {n}: {best:.2f} s, {n / best:.1f} volumes/s, peak {peak_in_mebibytes('cpu'):.0f} MiB")
