"""One form of the joint step in a process of its own: python tests/speed/one_step.py plain|fast SIDE BATCH THREADS."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from plain import plain_joint_loss

from bench import registry
from bench.memory import keep_freed_memory, peak_in_mebibytes
from bench.networks import AutoencodingNetwork, Backbone
from bench.split import UNLABELLED
from bench.training import Batch

form, side, n, threads = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
if form == "fast":
    keep_freed_memory()
network = AutoencodingNetwork(Backbone(side, 8))
loss = registry.method("autoencoding").loss if form == "fast" else plain_joint_loss
optimizer = torch.optim.Adam(network.parameters(), fused=form == "fast")
labels = torch.where(torch.arange(n) < n // 2, torch.arange(n) % 8, UNLABELLED)
batch = Batch(torch.randn(n, 1, side, side, side), labels, torch.Generator())
seconds = []
for _ in range(4):
    began = time.perf_counter()
    optimizer.zero_grad()
    loss(network, batch).backward()
    optimizer.step()
    seconds.append(time.perf_counter() - began)
best = min(seconds)
print(f"{form} {side}³ batch {n}: {best:.2f} s, {n / best:.1f} volumes/s, peak {peak_in_mebibytes('cpu'):.0f} MiB")
