"""Views are what a microscope could have given: their turns, their missing wedge, their noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from bench import registry
from bench.learning import spectrum
from bench.learning.feed import Feed
from bench.learning.networks import Backbone, ClassifierNetwork
from bench.learning.spectrum import WHOLE, Spectrum, mean_power, standardised
from bench.learning.turning import cube_turns, half_turns, random_rotations, rotated, turned_exactly
from bench.learning.views import VIEWS, Views
from bench.simulation import Imaging

N = 16
VOXEL = 336 / N
KEEP_THE_WEDGE = [name for name in VIEWS if "raw" not in name]
STILL = torch.zeros(64, 3, dtype=torch.long)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _noise(n: int, seed: int = 0, imaging: Imaging | None = None, box: int = N) -> Tensor:
    """Boxes (n, 1, box, box, box) of nothing but what this microscope makes of noise."""
    made, _ = (imaging or Imaging(snr=1e-9)).image(torch.rand(n, *(box,) * 3), VOXEL, _generator(seed))
    return made[:, None]


def _views(volumes: Tensor, name: str = "rotations", tilts: tuple[float, float] | None = (-60.0, 60.0)) -> Views:
    return Views.of(name, Feed(volumes[:, 0]), tilts)


@pytest.fixture(scope="module")
def particles() -> Tensor:
    """Noisy phantoms, (800, 1, 16, 16, 16)."""
    made = registry.dataset("phantoms", {"per_class": 100, "box": N}).load()
    return torch.from_numpy(made.volumes)[:, None]


@pytest.mark.parametrize("turn", range(24))
def test_turns_of_the_cube_are_those_of_numpy(turn: int) -> None:
    """An odd box has its centre in the middle, so that NumPy's turns of the whole array are about it."""
    box = torch.randn(1, 5, 5, 5, generator=_generator())
    ours = turned_exactly(box, cube_turns()[turn : turn + 1], STILL[:1])[0].numpy()
    z, y, x = np.indices((5, 5, 5)) - 2
    back = cube_turns()[turn].numpy().T @ np.stack([z, y, x]).reshape(3, -1)
    expected = box[0].numpy()[tuple(back.astype(int) + 2)].reshape(5, 5, 5)
    assert np.array_equal(ours, expected)
    rotations = {np.rot90(np.rot90(box[0], i, (0, 1)), j, (0, 2)).tobytes() for i in range(4) for j in range(4)}
    rotations |= {
        np.rot90(np.frombuffer(r, np.float32).reshape(5, 5, 5), k, (1, 2)).tobytes()
        for r in rotations
        for k in range(4)
    }
    assert len(rotations) == 24
    assert ours.tobytes() in rotations


def test_shifts_are_rolls() -> None:
    box = torch.randn(2, 8, 8, 8, generator=_generator())
    shifts = torch.tensor([[1, -2, 0], [0, 0, 3]])
    still = torch.eye(3).expand(2, 3, 3)
    moved = turned_exactly(box, still, shifts)
    assert torch.equal(moved, torch.stack([b.roll(s.tolist(), (0, 1, 2)) for b, s in zip(box, shifts)]))
    blob = _blob(N)
    close = rotated(blob[None], still[:1], torch.tensor([[1, -2, 0]]))[0]
    assert np.corrcoef(close.flatten(), blob.roll((1, -2, 0), (0, 1, 2)).flatten())[0, 1] > 0.998


def _blob(n: int) -> Tensor:
    """A lopsided particle far from the edge."""
    z, y, x = torch.meshgrid(*[torch.arange(n) - n // 2] * 3, indexing="ij")
    parts = ((0, 0, 0, 1.0), (3, 1, 0, 0.8), (-1, 3, 2, 0.6))
    return sum(w * torch.exp(-((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2) / 4.0) for a, b, c, w in parts)  # type: ignore[return-value]


def test_rotations_are_those_of_scipy() -> None:
    blob, rotations = _blob(24), random_rotations(8, _generator(3))
    ours = rotated(blob.expand(8, -1, -1, -1), rotations, STILL[:8])
    for one, rotation in zip(ours, rotations.double().numpy()):
        offset = 12 - rotation.T @ np.full(3, 12)
        theirs = ndimage.affine_transform(blob.double().numpy(), rotation.T, offset, order=5)
        assert np.corrcoef(one.numpy().ravel(), theirs.ravel())[0, 1] > 0.998


def test_rotations_are_rotations_evenly_distributed() -> None:
    turns = random_rotations(4000, _generator()).double()
    assert torch.allclose(turns @ turns.transpose(1, 2), torch.eye(3, dtype=torch.double), atol=1e-6)
    assert torch.allclose(torch.linalg.det(turns), torch.ones(4000, dtype=torch.double), atol=1e-6)
    # The angle ω of an even rotation has the density (1 − cos ω) / π.
    angles = np.sort(Rotation.from_matrix(turns.numpy()).magnitude())
    expected = (angles - np.sin(angles)) / np.pi
    assert np.abs(np.arange(1, 4001) / 4000 - expected).max() < 1.63 / np.sqrt(4000)  # Kolmogorov, 1 %
    assert turns.mean(0).abs().max() < 4 / np.sqrt(3 * 4000)


@pytest.mark.parametrize("name", KEEP_THE_WEDGE)
def test_the_missing_wedge_stays_empty(name: str, particles: Tensor) -> None:
    views = _views(particles)
    drawn = views.draw(VIEWS[name], particles, _generator())
    power = torch.fft.rfftn(drawn[:, 0], dim=(1, 2, 3)).abs().square()
    limit = 0.02 if VIEWS[name].degraded else 1e-6  # a hidden cube has edges
    assert float(power[:, ~views.spectrum.seen].sum() / power.sum()) < limit


def test_raw_turns_leave_the_wedge_where_it_was_turned_to(particles: Tensor) -> None:
    """The law above can fail."""
    views = _views(particles)
    for name in ("cube-raw", "rotations-raw"):
        power = torch.fft.rfftn(views.draw(VIEWS[name], particles, _generator())[:, 0], dim=(1, 2, 3)).abs().square()
        assert float(power[:, ~views.spectrum.seen].sum() / power.sum()) > 0.15


@pytest.mark.parametrize(
    "name", ["turns", "shifts", "cube-refilled", "rotations", "rotations-refilled", "rotations-mirrors"]
)
def test_the_power_at_each_radius_stays(name: str, particles: Tensor) -> None:
    """Of coefficients that some tilt saw, from the second shell to the Nyquist frequency; within 5 %."""
    views = _views(particles)
    power = mean_power(standardised(views.draw(VIEWS[name], particles, _generator())[:, 0])[0])
    seen, shell = views.spectrum.seen, spectrum.radius(N).round()
    for r in range(2, N // 2 + 1):
        within = seen & (shell == r)
        assert float(power[within].mean() / views.spectrum.power[within].mean()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", [*VIEWS])
def test_a_view_has_mean_and_variance_of_its_volume(name: str, particles: Tensor) -> None:
    volumes = 3 * particles[:32] + 5
    drawn = _views(particles).draw(VIEWS[name], volumes, _generator())
    assert drawn.shape == volumes.shape
    if not VIEWS[name].degraded:  # which changes the grey scale
        exact = "raw" not in name  # a rotation alone takes other corners into the box
        assert torch.allclose(drawn.mean((1, 2, 3, 4)), volumes.mean((1, 2, 3, 4)), atol=0.01 if exact else 1.0)
        assert torch.allclose(drawn.std((1, 2, 3, 4)), volumes.std((1, 2, 3, 4)), rtol=0.01 if exact else 0.5)


@pytest.mark.parametrize("name", ["turns", "cube", "rotations", "rotations-degraded"])
def test_one_generator_gives_the_same_bits(name: str, particles: Tensor) -> None:
    views, some = _views(particles), particles[:16]
    before = some.clone()
    first, again = (views.draw(VIEWS[name], some, _generator(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(some, before)
    assert not torch.equal(first, views.draw(VIEWS[name], some, _generator(5)))


def test_a_rotated_particle_is_the_particle_in_that_pose() -> None:
    """Without noise, within what both its wedge and the turned one of the original saw; a box of 336 Å cuts its CTF."""
    plan = registry.dataset("phantoms", {"per_class": 2, "box": N}).plan()
    imaging = replace(plan.imaging, snr=1e12)
    still = np.zeros((16, 3), np.float32)
    for kind in plan.densities[::3]:
        poses = Rotation.random(16, random_state=1)
        turns = Rotation.random(16, random_state=2)
        before, after = (
            imaging.image(kind.posed((N,) * 3, pose, still), VOXEL, _generator())[0] for pose in (poses, turns * poses)
        )
        rotations = torch.from_numpy(turns.as_matrix()).float()
        ours = rotated(before, rotations, STILL[:16])
        known = Spectrum(torch.ones(N, N, N // 2 + 1), (-60.0, 60.0))
        turned = spectrum.edge_distance(known.normals @ rotations.transpose(1, 2), N) >= 1
        both = turned & known.seen & (spectrum.radius(N) < N / 2)
        a, b = (torch.fft.rfftn(x, dim=(1, 2, 3)) * both for x in (ours, after))
        correlation = (a * b.conj()).real.sum((1, 2, 3)) / (
            a.abs().square().sum((1, 2, 3)) * b.abs().square().sum((1, 2, 3))
        ).sqrt()
        assert correlation.mean() > 0.95
        assert correlation.min() > 0.9
        mirrored = torch.fft.rfftn(after.flip(1), dim=(1, 2, 3)) * both
        assert ((a * mirrored.conj()).real.sum((1, 2, 3)) < (a * b.conj()).real.sum((1, 2, 3))).all()


@pytest.mark.parametrize("name", ["turns", "cube-refilled", "rotations-refilled"])
def test_no_classifier_tells_a_view_of_noise_from_noise(name: str) -> None:
    """By the power of each frequency, or by a small network on the voxels."""
    boxes = _noise(1600)
    drawn = _views(boxes, name).training(boxes[:800], _generator(1))
    volumes = torch.cat([drawn, boxes[800:]])
    labels = torch.arange(1600) // 800
    order = torch.randperm(1600, generator=_generator(2))
    train, test = order[:1000], order[1000:]
    assert _by_power(volumes, labels, train, test) < 0.5 + 3 * 0.5 / 600**0.5
    assert _by_network(volumes, labels, train, test) < 0.5 + 3 * 0.5 / 600**0.5


def test_a_classifier_tells_a_second_wedge_that_is_not_refilled() -> None:
    """The law above can fail."""
    boxes = _noise(1600)
    labels = torch.arange(1600) // 800
    order = torch.randperm(1600, generator=_generator(2))
    for name in ("rotations-raw", "cube"):
        volumes = torch.cat([_views(boxes, name).training(boxes[:800], _generator(1)), boxes[800:]])
        assert _by_power(volumes, labels, order[:1000], order[1000:]) > 0.6


def _by_power(volumes: Tensor, labels: Tensor, train: Tensor, test: Tensor) -> float:
    """Accuracy of a logistic regression on the power at each direction: what a wrong wedge or filling changes."""
    power = torch.fft.rfftn(volumes[:, 0], dim=(1, 2, 3)).abs().square()
    seen = Spectrum(power[0], (-60.0, 60.0)).seen & (spectrum.radius(N) < N / 2)
    features = F.avg_pool3d((power * seen).roll((N // 2, N // 2), (1, 2))[:, None], 3)[:, 0].flatten(1)
    features = (features - features[train].mean(0)) / features[train].std(0).clamp(min=1e-9)
    fitted = LogisticRegression(C=0.01, max_iter=500).fit(features[train], labels[train])
    return float(fitted.score(features[test], labels[test]))


def _by_network(volumes: Tensor, labels: Tensor, train: Tensor, test: Tensor) -> float:
    torch.manual_seed(0)
    network = ClassifierNetwork(Backbone(N, 2, 4))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(3):
        for part in train.split(20):
            optimizer.zero_grad()
            F.cross_entropy(network.logits(volumes[part]), labels[part]).backward()
            optimizer.step()
    with torch.inference_mode():
        return float((network.eval().logits(volumes[test]).argmax(1) == labels[test]).float().mean())


@pytest.mark.parametrize("limit", [40.0, 50.0, 60.0, 70.0])
@pytest.mark.parametrize("mode", ["fourier", "tilt_series"])
def test_the_tilt_range_is_measured(limit: float, mode: str) -> None:
    boxes = _noise(64, imaging=Imaging(snr=0.1, mode=mode, tilt_limit_in_degrees=limit), box=24)
    low, high = Spectrum.of(Feed(boxes[:, 0])).tilts
    assert (-low, high) == pytest.approx((limit, limit), abs=5)


def test_a_tilt_range_that_is_not_symmetric_is_measured_on_its_side() -> None:
    boxes = torch.randn(64, 24, 24, 24, generator=_generator())
    shown = Spectrum(torch.ones(24, 24, 13), (-60.0, 40.0))
    boxes = torch.fft.irfftn(torch.fft.rfftn(boxes, dim=(1, 2, 3)) * shown.seen, s=(24, 24, 24), dim=(1, 2, 3))
    low, high = Spectrum.of(Feed(boxes)).tilts
    assert (low, high) == pytest.approx((-60, 40), abs=4)
    # Half turns about other axes than the tilt axis would move this wedge.
    turned = Views.of("turns", Feed(boxes), None).training(boxes[:, None], _generator())[:, 0]
    for view, box in zip(turned, boxes):
        two = turned_exactly(box.expand(2, -1, -1, -1), half_turns()[:2], STILL[:2])
        assert min(float((view - one).abs().max()) for one in two) < 1e-5


def test_boxes_without_a_wedge_have_none() -> None:
    assert Spectrum.of(Feed(torch.randn(64, 16, 16, 16, generator=_generator()))).tilts == WHOLE


def test_the_tilt_range_of_a_simulated_set_is_known() -> None:
    made = registry.dataset("phantoms", {"per_class": 2, "box": 8}).load()
    assert made.tilt_range_in_degrees == (-60.0, 60.0)
    assert replace(made, tilt_range_in_degrees=(-50.0, 50.0)).fingerprint() != made.fingerprint()


def test_gradients_pass_through_a_rotation() -> None:
    box = _blob(N)[None].requires_grad_()
    rotated(box, random_rotations(1, _generator()), STILL[:1]).sum().backward()
    assert box.grad is not None
    assert box.grad.isfinite().all()
    assert box.grad.abs().sum() > 0


@pytest.mark.parametrize("name", VIEWS)
def test_no_volumes_have_no_views(name: str, particles: Tensor) -> None:
    """A batch may hold no labelled volume, or no other."""
    views, none = _views(particles[:16], name), particles[:0]
    for view in (views.training, views.weak, views.strong):
        assert view(none, _generator()).shape == none.shape
