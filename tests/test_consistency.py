"""Methods that teach one view what another is: their equations, their limits, and what may not move their state."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import registry
from bench.base.arrays import UNLABELLED
from bench.learning.averaging import STATISTICS, MovingAverage, rate
from bench.learning.consistency import Alignment
from bench.learning.contracts import Batch
from bench.learning.feed import Feed
from bench.learning.method import Method
from bench.learning.networks import Backbone
from bench.learning.protocol import PROTOCOLS
from bench.learning.views import Views
from bench.testing import N_CLASSES, tiny_data, tiny_trainer

NAMES = ["fixmatch", "adamatch", "softmatch", "mean_teacher", "vat"]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    ("fixmatch", {"align": True}),
    ("fixmatch", {"soft": True}),
    ("mean_teacher", {"memory": 0.0}),
]
AS_SUPERVISED: list[tuple[str, dict[str, Any]]] = [
    *((name, {"weight": 0.0} | ({"entropy": 0.0} if name == "vat" else {})) for name in NAMES),
    ("fixmatch", {"threshold": 1.0}),
    ("fixmatch", {"soft": True, "soft_threshold": 1.0}),
]


class Mirrored:
    """Views that need no random number, so that a test can make them too."""

    def training(self, volumes: Tensor, generator: torch.Generator) -> Tensor:
        return volumes

    def weak(self, volumes: Tensor, generator: torch.Generator) -> Tensor:
        return volumes.flip(2)

    def strong(self, volumes: Tensor, generator: torch.Generator) -> Tensor:
        return 0.5 * volumes.roll(2, 3)


def _batch(labels: list[int | None], progress: float = 0.5, box: int = 8, views: Any = None) -> Batch:
    """Volumes whose brightness tells the class, a known one or any."""
    generator = torch.Generator().manual_seed(7)
    known = torch.tensor([UNLABELLED if label is None else label for label in labels])
    bright = torch.where(known == UNLABELLED, torch.arange(len(labels)) % N_CLASSES, known)
    volumes = torch.randn(len(labels), 1, *(box,) * 3, generator=generator) + bright.view(-1, 1, 1, 1, 1)
    places = torch.arange(100, 100 + len(labels))
    return Batch(volumes, known, torch.Generator().manual_seed(2), progress, places, views or Mirrored())


HALF = [0, 1, 2, 3, None, None, None, None, None, None]


def _network(method: Method, box: int = 8, filters: int = 4) -> Any:
    """A network of the method, drawn so that it is surer of some volumes than of others."""
    torch.manual_seed(3)
    network = method.build(Backbone(box, N_CLASSES, filters))
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.weight.data *= 3
    return network.train()


def _student(network: Any) -> nn.Module:
    return getattr(network, "student", network)


def _loss(method: Method, network: Any, batch: Batch) -> float:
    return float(method.loss(network, batch).detach())


def _logits(network: Any, volumes: Tensor) -> list[list[float]]:
    """Of a network that stays as it is."""
    with torch.no_grad():
        return copy.deepcopy(network).logits(volumes).double().tolist()


def _softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(z) for z in logits]
    return [power / sum(powers) for power in powers]


def _cross_entropy(network: Any, batch: Batch) -> float:
    known = [i for i, label in enumerate(batch.labels.tolist()) if label != UNLABELLED]
    logits = _logits(network, batch.as_they_are[known])
    return -sum(math.log(_softmax(z)[batch.labels[i]]) for i, z in zip(known, logits)) / len(known)


def _weak_and_strong(network: Any, batch: Batch) -> tuple[list[list[float]], list[list[float]]]:
    """Probabilities for both views of the unlabelled volumes."""
    volumes = batch.as_they_are[batch.labels == UNLABELLED]
    views = volumes.flip(2), 0.5 * volumes.roll(2, 3)
    weak, strong = ([_softmax(z) for z in _logits(network, view)] for view in views)
    return weak, strong


def _mean_of(rows: list[list[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows)]


EVEN = [1 / N_CLASSES] * N_CLASSES


def _aligned(q: list[list[float]], labelled: list[list[float]], start: list[float] = EVEN) -> list[list[float]]:
    """By averages that have seen a start and one batch, each with half the weight; `start`: of the labelled ones."""
    p_l = [0.5 * (a + b) for a, b in zip(start, _mean_of(labelled))]
    p_u = [0.5 * (a + b) for a, b in zip(EVEN, _mean_of(q))]
    tilted = [[a * (b + 1e-6) / (c + 1e-6) for a, b, c in zip(row, p_l, p_u)] for row in q]
    return [[a / sum(row) for a in row] for row in tilted]


def _ones(batch: Batch) -> list[list[float]]:
    return F.one_hot(batch.labels[batch.labels != UNLABELLED], N_CLASSES).double().tolist()


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_fixmatch_loss_volume_by_volume(soft: bool, align: bool) -> None:
    given, batch, temperature = {"weight": 0.7, "align": align, "soft": soft}, _batch(HALF, progress=0.01), 0.4
    network = _network(registry.method("fixmatch", given))
    q, p = _weak_and_strong(network, batch)
    q = _aligned(q, _ones(batch)) if align else q
    limit = sum(sorted(max(row) for row in q)[2:4]) / 2
    method = registry.method("fixmatch", given | {"soft_threshold" if soft else "threshold": limit})
    total, used = 0.0, []
    for weak, strong in zip(q, p):
        used.append(max(weak) > limit)
        if soft:
            sharp = [x ** (1 / temperature) for x in weak]
            cross_entropy = -sum(x / sum(sharp) * math.log(y) for x, y in zip(sharp, strong))
        else:
            cross_entropy = -math.log(strong[weak.index(max(weak))])
        total += used[-1] * cross_entropy
    expected = _cross_entropy(network, batch) + 0.7 * total / len(q)
    assert sum(used) == 3
    assert _loss(method, network, batch) == pytest.approx(expected, rel=1e-4)
    (guess,) = batch.guesses
    assert guess.indices.tolist() == list(range(104, 110))
    assert guess.used.tolist() == used
    assert guess.labels.tolist() == [row.index(max(row)) for row in q]


@pytest.mark.parametrize(("progress", "rise"), [(0.01, None), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)])
def test_adamatch_loss_volume_by_volume(progress: float, rise: float | None) -> None:
    method, batch = registry.method("adamatch", {"weight": 3.0}), _batch(HALF, progress)
    network = _network(method)
    if rise is None:
        rise = 0.5 - 0.5 * math.cos(2 * math.pi * progress)
    known = [_softmax(z) for z in _logits(network, batch.as_they_are[:4])]
    limit = 0.9 * sum(max(p) for p in known) / 4
    q, p = _weak_and_strong(network, batch)
    first = rate(1, progress, STATISTICS)
    p_l, p_u = ([(1 - first) / N_CLASSES + first * share for share in _mean_of(rows)] for rows in (known, q))
    total, used = 0.0, []
    for weak, strong in zip(q, p):
        tilted = [a * (b + 1e-6) / (c + 1e-6) for a, b, c in zip(weak, p_l, p_u)]
        used.append(max(tilted) / sum(tilted) > limit)
        total -= used[-1] * math.log(strong[tilted.index(max(tilted))])
    expected = _cross_entropy(network, batch) + 3.0 * rise * total / len(q)
    assert _loss(method, network, batch) == pytest.approx(expected, rel=1e-4)
    assert batch.guesses[0].used.tolist() == used
    assert any(used)


def test_softmatch_loss_volume_by_volume() -> None:
    method, batch = registry.method("softmatch", {"weight": 0.7, "steepness": 2.0}), _batch(HALF, progress=0.01)
    network = _network(method)
    q, p = _weak_and_strong(network, batch)
    start = [1.0, 0.0, 0.0, 0.0]
    network.alignment.labelled.value.copy_(torch.tensor(start))
    aligned = _aligned(q, _ones(batch), start)
    assert [row.index(max(row)) for row in aligned] != [row.index(max(row)) for row in q]
    tops = [max(row) for row in aligned]
    mean = sum(tops) / len(tops)
    variance = sum((top - mean) ** 2 for top in tops) / (len(tops) - 1)
    assert network.confidence.value.tolist() == [1 / N_CLASSES, 1.0]
    network.confidence.value.copy_(torch.tensor([0.9, 0.1]))
    mean, variance = 0.5 * (0.9 + mean), 0.5 * (0.1 + variance)  # the start counts as much as one batch
    total = 0.0
    for weak, strong, top in zip(q, p, tops):
        weight = math.exp(-(min(top - mean, 0) ** 2) / (2 * variance / 2**2))
        total -= weight * math.log(strong[weak.index(max(weak))])
    expected = _cross_entropy(network, batch) + 0.7 * total / len(q)
    assert _loss(method, network, batch) == pytest.approx(expected, rel=1e-5)
    assert network.confidence.value.tolist() == pytest.approx([mean, variance], rel=1e-5)
    assert min(tops) < mean < max(tops)


@pytest.mark.parametrize(("progress", "rise"), [(0.1, 0.25), (0.4, 1.0), (0.9, 1.0)])
def test_mean_teacher_loss_volume_by_volume(progress: float, rise: float) -> None:
    method, batch = registry.method("mean_teacher", {"weight": 5.0}), _batch(HALF, progress)
    network = _network(method)
    for parameter in network.teacher.parameters():
        parameter.mul_(0.8)
    q, _ = _weak_and_strong(network.teacher.module, batch)
    _, p = _weak_and_strong(network.student, batch)
    errors = [(a - b) ** 2 for row, other in zip(p, q) for a, b in zip(row, other)]
    expected = _cross_entropy(network.student, batch) + 5.0 * rise * sum(errors) / len(errors)
    assert _loss(method, network, batch) == pytest.approx(expected, rel=1e-5)


def test_the_teacher_is_a_moving_average_and_answers_in_the_end() -> None:
    """Against a plain loop; running statistics are averaged like weights."""
    method, steps = registry.method("mean_teacher", {"memory": 0.5}), 12
    network, batch = _network(method), _batch(HALF)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    expected: dict[str, Tensor] = {}
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        method.loss(network, replace(batch, progress=step / steps)).backward()
        optimizer.step()
        with torch.no_grad():
            method.after_step(network, step / steps)
        decay = 0.0 if step == 1 else min(1 - 1 / (step + 1), 1 - 1 / (0.5 * steps))
        for key, value in network.student.state_dict().items():
            known = expected.get(key, value)
            expected[key] = decay * known + (1 - decay) * value
    teacher = network.teacher.module.state_dict()
    for key, value in expected.items():
        if value.is_floating_point() and "num_batches" not in key:
            assert torch.allclose(teacher[key], value, rtol=1e-4, atol=1e-6), key
    network.eval()
    assert torch.equal(network.logits(batch.as_they_are), network.teacher.module.logits(batch.as_they_are))
    assert not torch.allclose(network.logits(batch.as_they_are), network.student.logits(batch.as_they_are), atol=1e-3)


def test_without_a_memory_the_teacher_is_the_student() -> None:
    method, batch = registry.method("mean_teacher", {"memory": 0.0}), _batch(HALF)
    network = _network(method)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(1, 5):
        optimizer.zero_grad()
        method.loss(network, replace(batch, progress=step / 4)).backward()
        optimizer.step()
        with torch.no_grad():
            method.after_step(network, step / 4)
        teacher, student = network.teacher.module.state_dict(), network.student.state_dict()
        assert all(torch.equal(teacher[key], student[key]) for key in student)


def test_a_training_starts_with_the_teacher_as_the_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.methods.mean_teacher import MeanTeacher

    seen: list[bool] = []
    loss = MeanTeacher.loss

    def watch(self: MeanTeacher, network: Any, batch: Batch) -> Tensor:
        pairs = zip(network.student.parameters(), network.teacher.module.parameters())
        seen.append(all(torch.equal(a, b) for a, b in pairs))
        return loss(self, network, batch)

    monkeypatch.setattr(MeanTeacher, "loss", watch)
    registry.method("mean_teacher").fit(tiny_data(), tiny_trainer(tmp_path))
    assert seen[0]


class _Linear(nn.Module):
    """Its divergence has a curvature that can be written down."""

    def __init__(self, voxels: int) -> None:
        super().__init__()
        self.weight = torch.randn(N_CLASSES, voxels, generator=torch.Generator().manual_seed(4)) / math.sqrt(voxels)

    def logits(self, volumes: Tensor) -> Tensor:
        return volumes.flatten(1) @ self.weight.t()


def test_the_worst_direction_is_a_power_iteration() -> None:
    """KL(p(u) ‖ p(u + d)) = d·H·d / 2 + O(d³), H = Jᵀ (diag p − p pᵀ) J."""
    from bench.methods.vat import worst_direction

    network, volumes = _Linear(512), torch.randn(3, 1, 8, 8, 8, generator=torch.Generator().manual_seed(5))
    known = network.logits(volumes)
    found = worst_direction(network, volumes, known, torch.Generator().manual_seed(6)).flatten(1)
    start = torch.randn(3, 512, generator=torch.Generator().manual_seed(6))
    for i, p in enumerate(known.softmax(1)):
        curvature = network.weight.t() @ (torch.diag(p) - torch.outer(p, p)) @ network.weight
        expected = curvature @ start[i]
        cosine = F.cosine_similarity(found[i], expected, dim=0)
        assert float(cosine) == pytest.approx(1, abs=1e-3)
        assert float(found[i].square().mean()) == pytest.approx(1, rel=1e-4)


def test_vat_loss_volume_by_volume() -> None:
    from bench.methods.vat import worst_direction

    method = registry.method("vat", {"weight": 0.7, "change": 0.3, "entropy": 0.2})
    network, batch = _network(method), _batch(HALF)
    volumes = batch.as_they_are[4:]
    twin = copy.deepcopy(network)
    worst = 0.3 * worst_direction(twin, volumes, twin.logits(volumes).detach(), torch.Generator().manual_seed(2))
    clean, moved = ([_softmax(z) for z in _logits(network, v)] for v in (volumes, volumes + worst))
    divergence = sum(a * math.log(a / b) for p, q in zip(clean, moved) for a, b in zip(p, q)) / 6
    entropy = -sum(a * math.log(a) for p in clean for a in p) / 6
    expected = _cross_entropy(network, batch) + 0.7 * divergence + 0.2 * entropy
    assert divergence > 1e-3
    assert _loss(method, network, batch) == pytest.approx(expected, rel=1e-4)


def test_vat_moves_the_answer_for_the_changed_volume_alone() -> None:
    from bench.methods.vat import worst_direction

    method, batch = registry.method("vat", {"change": 0.3, "entropy": 0.0}), _batch(HALF)
    network = _network(method)
    twin, volumes = copy.deepcopy(network), batch.as_they_are[4:]
    known = twin.logits(volumes).detach()
    worst = 0.3 * worst_direction(twin, volumes, known, torch.Generator().manual_seed(2))
    _, gradients = _loss_and_gradients(method, network, batch)
    loss = F.cross_entropy(twin.logits(batch.as_they_are[:4]), batch.labels[:4])
    (loss + F.cross_entropy(twin.logits(volumes + worst), known.softmax(1))).backward()  # KL but for a constant
    for key, parameter in twin.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(gradients[key], parameter.grad, rtol=1e-3, atol=1e-5), key


def test_the_worst_change_is_worse_than_any_of_many_random_ones() -> None:
    from bench.methods.vat import worst_direction

    network = _network(registry.method("vat")).eval()
    volumes = _batch(HALF).as_they_are

    def divergence(change: Tensor) -> Tensor:
        p, q = network.logits(volumes).log_softmax(1), network.logits(volumes + 0.1 * change).log_softmax(1)
        return (p.exp() * (p - q)).sum(1)

    generator = torch.Generator().manual_seed(8)
    worst = divergence(worst_direction(network, volumes, network.logits(volumes).detach(), generator))
    others = [divergence(torch.randn(volumes.shape, generator=generator)) for _ in range(20)]
    assert (worst > torch.stack(others).max(0).values).all()


def _loss_and_gradients(method: Method, network: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    student = _student(network)
    student.zero_grad()
    loss = method.loss(network, batch)
    loss.backward()
    return loss.detach(), {key: p.grad.clone() for key, p in student.named_parameters() if p.grad is not None}


@functools.cache
def _rotations() -> Views:
    volumes = torch.randn(64, 8, 8, 8, generator=torch.Generator().manual_seed(9))
    return Views.of("rotations", Feed(volumes), (-60.0, 60.0))


def _running(network: Any) -> list[Tensor]:
    return [value.clone() for key, value in _student(network).state_dict().items() if "running" in key]


@pytest.mark.parametrize("labels", [HALF, HALF[:4]], ids=["with unlabelled", "without"])
@pytest.mark.parametrize(("name", "given"), AS_SUPERVISED)
def test_without_weight_a_step_is_that_of_supervised(
    name: str, given: dict[str, Any], labels: list[int | None]
) -> None:
    method, supervised = registry.method(name, given), registry.method("supervised")
    network, views = _network(method), _rotations()
    twin = copy.deepcopy(_student(network))
    loss, gradients = _loss_and_gradients(method, network, _batch(labels, views=views))
    expected, wanted = _loss_and_gradients(supervised, twin, _batch(labels, views=views).labelled())
    assert torch.equal(loss, expected)
    assert gradients.keys() == wanted.keys()
    assert all(torch.equal(gradients[key], wanted[key]) for key in wanted)
    assert all(torch.equal(a, b) for a, b in zip(_running(network), _running(twin)))


@pytest.mark.parametrize(("name", "given"), AS_SUPERVISED)
def test_without_weight_a_training_is_that_of_supervised(name: str, given: dict[str, Any], tmp_path: Path) -> None:
    """For one pass over the labelled volumes: the next is in another order, for unlabelled ones are drawn between."""
    trainers = (replace(tiny_trainer(tmp_path / str(i), views="none"), select="last") for i in range(2))
    networks = [
        registry.method(*made).fit(tiny_data(), trainer)
        for made, trainer in zip([(name, given), ("supervised",)], trainers)
    ]
    ours, wanted = (_student(network).state_dict() for network in networks)
    assert all(torch.equal(ours[key], wanted[key]) for key in wanted if "num_batches" not in key)


@pytest.mark.parametrize(("name", "given"), VARIANTS)
def test_without_unlabelled_volumes_only_the_cross_entropy_is_left(name: str, given: dict[str, Any]) -> None:
    method, supervised = registry.method(name, given), registry.method("supervised")
    network = _network(method)
    twin = copy.deepcopy(_student(network))
    loss, gradients = _loss_and_gradients(method, network, _batch(HALF[:4]))
    expected, wanted = _loss_and_gradients(supervised, twin, _batch(HALF[:4]))
    assert torch.equal(loss, expected)
    assert all(torch.equal(gradients[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(("name", "given"), VARIANTS)
def test_unlabelled_volumes_move_every_weight(name: str, given: dict[str, Any]) -> None:
    """After some steps, so that a method with a threshold has become sure of some volumes."""
    method, batch = registry.method(name, given), _batch(HALF)
    network = _network(method)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(10):
        optimizer.zero_grad()
        method.loss(network, batch).backward()
        optimizer.step()
        with torch.no_grad():
            method.after_step(network, 0.5)
    _, gradients = _loss_and_gradients(method, network, batch)
    _, alone = _loss_and_gradients(method, network, batch.labelled())
    for key, gradient in gradients.items():
        assert float((gradient - alone[key]).norm()) > 1e-6, key


@pytest.mark.parametrize(("name", "given"), VARIANTS)
def test_running_statistics_are_those_of_the_labelled_volumes(name: str, given: dict[str, Any]) -> None:
    method = registry.method(name, given)
    network, batch = _network(method), _batch(HALF)
    with torch.no_grad():
        features = _student(network).encoder(batch.as_they_are[:4]).flatten(1)
    method.loss(network, batch)
    mean, variance = _running(network)
    assert torch.allclose(mean, 0.1 * features.mean(0), atol=1e-6)
    assert torch.allclose(variance, 0.9 + 0.1 * features.var(0), atol=1e-5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.momentum == 0.1


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize(("name", "given"), VARIANTS)
def test_a_validation_leaves_all_as_it_was(
    name: str, given: dict[str, Any], mode: Callable[[], torch.inference_mode]
) -> None:
    method = registry.method(name, given)
    network = _network(method).eval()
    before = copy.deepcopy(network.state_dict())
    for labels in (HALF, HALF[:4], HALF[4:], HALF[:1], HALF[4:5]):
        with mode():
            batch = replace(_batch(labels), views=None, progress=0.0, indices=None)
            assert math.isfinite(float(method.loss(network, batch)))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("labels", [HALF[4:], HALF[:1], HALF[4:5], HALF[3:5], [1, None, None], [0, 1, None]])
@pytest.mark.parametrize(("name", "given"), VARIANTS)
def test_a_batch_may_lack_volumes_of_either_kind(name: str, given: dict[str, Any], labels: list[int | None]) -> None:
    """Under `paper`, chance decides what a batch holds."""
    method = registry.method(name, given)
    network = _network(method)
    for _ in range(2):
        loss, gradients = _loss_and_gradients(method, network, _batch(labels, progress=1.0, views=_rotations()))
        assert math.isfinite(float(loss))
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        assert all(value.isfinite().all() for value in network.state_dict().values())


@pytest.mark.parametrize("box", [28, 64])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_in_boxes_of_the_paper(name: str, box: int) -> None:
    method = registry.method(name)
    network = _network(method, box, filters=2)
    loss, gradients = _loss_and_gradients(method, network, _batch([0, 1, None, None], box=box))
    assert math.isfinite(float(loss))
    assert any(gradient.abs().max() > 0 for gradient in gradients.values())


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", NAMES)
def test_one_label_a_class_is_enough(name: str, protocol: str, tmp_path: Path) -> None:
    data = tiny_data()
    data = replace(data, labels=torch.where(torch.arange(48) < N_CLASSES, data.labels, UNLABELLED))
    network: Any = registry.method(name).fit(data, tiny_trainer(tmp_path, protocol, epochs=2))
    assert network.logits(data.volumes[torch.arange(48)]).isfinite().all()


def test_an_average_is_the_plain_mean_until_its_memory_is_full() -> None:
    steps, seen = 400, torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    average = MovingAverage(torch.tensor([5.0, -5.0]))
    full = round(STATISTICS * steps)
    for step in range(full - 1):
        average.update(seen[step], (step + 1) / steps)
    mean = torch.cat([torch.tensor([[5.0, -5.0]]), seen[: full - 1]]).mean(0)
    assert torch.allclose(average.value, mean, atol=1e-6)
    for step in range(full - 1, steps):
        average.update(seen[step], (step + 1) / steps)
    weights = (1 - 1 / full) ** torch.arange(steps - 1, full - 2, -1).sub(full - 1).flip(0).float()
    expected = mean * weights[-1] * (1 - 1 / full) + (weights.flip(0)[:, None] * seen[full - 1 :]).sum(0) / full
    assert torch.allclose(average.value, expected, atol=1e-5)


@pytest.mark.parametrize("steps", [40, 400, 4000])
def test_a_memory_is_the_same_share_of_every_training(steps: int) -> None:
    """What is left in the end of a jump at half of the training."""
    level = 0.0
    for step in range(1, steps + 1):
        level += rate(step, step / steps, 0.1) * ((step > steps / 2) - level)
    assert 1 - level == pytest.approx(math.exp(-5), abs=0.004)


def test_a_rate_has_its_limits() -> None:
    assert rate(1, 0.01, 0.1) == 0.5
    assert rate(7, 0.3, 0.0) == 1.0
    assert rate(1, 1.0, 0.1) == 1.0  # a training of one step


def test_equal_shares_leave_predictions_alone() -> None:
    alignment = Alignment(N_CLASSES).eval()
    q = torch.rand(9, N_CLASSES, generator=torch.Generator().manual_seed(0)).softmax(1)
    shares = torch.tensor([0.4, 0.3, 0.2, 0.1])
    alignment.labelled.value.copy_(shares)
    alignment.unlabelled.value.copy_(shares)
    assert torch.allclose(alignment(q, q, 0.5), q, atol=1e-6)


def test_alignment_gives_rare_classes_their_share() -> None:
    """Predictions that say nothing get the shares of the labelled volumes."""
    alignment = Alignment(N_CLASSES)
    shares, even = torch.tensor([[0.4, 0.3, 0.2, 0.1]]), torch.full((6, N_CLASSES), 0.25)
    for step in range(1, 101):
        aligned = alignment(even, shares, step / 100)
    assert torch.allclose(aligned, shares.expand(6, -1), atol=0.01)
    assert torch.allclose(aligned.sum(1), torch.ones(6))
