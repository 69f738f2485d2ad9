"""Deep generative model M2 of Kingma et al. 2014 (arXiv 1406.5298), the paper's generative baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.base.arrays import UNLABELLED
from bench.base.parameters import parameter
from bench.learning.contracts import Batch, TrainingData, in_batches
from bench.learning.feed import Feed
from bench.learning.method import Method
from bench.learning.networks import CODE_SIZE, Backbone
from bench.learning.recipe import Recipe
from bench.learning.trainer import Trainer

LATENT_SIZE = 50
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class M2(Method):
    """A generative model of all volumes, from a class and a latent code (Kingma et al. 2014, Eqs. 6-9).

    Protocol `fair`: M2 on the voxels, with the shared encoder. Protocol `paper`: a stack, as in the published code: M2
    on the 50 features of M1, a variational autoencoder.
    """

    title = "Deep generative model (M2)"

    alpha: float = parameter(
        0.1, "weight of the cross-entropy (Eq. 9) under protocol paper: M2 on features", low=0, high=1e6
    )
    alpha_on_voxels: float = parameter(
        1.0, "weight of the cross-entropy (Eq. 9) under protocol fair: M2 on voxels", low=0, high=1e6
    )

    def build(self, backbone: Backbone) -> VoxelM2:
        """Encoder3D's convolutions, Classifier3D and Decoder3D around the latent code."""
        return VoxelM2(backbone)

    def loss(self, network: VoxelM2 | FeatureM2, batch: Batch) -> Tensor:
        """J^α of Eq. 9, divided by N: the mean bound plus α times the mean cross-entropy of the labelled volumes.

        In the stack the bounds are in nats per volume, as published. On thousands of noisy voxels they would outweigh
        the cross-entropy: there they are in nats per voxel, with another α.
        """
        features = network.features(batch.volumes)
        log_q = network.class_logits(features).log_softmax(1)  # log q(y|x), (b, classes)
        known = (batch.labels != UNLABELLED).nonzero().flatten()
        hidden = (batch.labels == UNLABELLED).nonzero().flatten()
        n_classes = log_q.shape[1]
        # One row for each (volume, class) that the bounds need: the known class, or every class in turn.
        volume = torch.cat([known, hidden.repeat_interleave(n_classes)])  # (rows,)
        y = torch.cat([batch.labels[known], torch.arange(n_classes, device=known.device).repeat(len(hidden))])
        mean, log_variance = network.posterior(features[volume], y)  # q(z|x,y), (rows, latent)
        noise = torch.randn(mean.shape, generator=batch.generator, device=mean.device)
        z = mean + (0.5 * log_variance).exp() * noise
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        log_p_x = network.log_likelihood(batch.volumes, volume, y, z)
        minus_l = log_p_x - math.log(n_classes) - kl  # −L(x, y), Eq. 6, with uniform p(y)
        minus_u = (log_q[hidden].exp() * (minus_l[len(known) :].view(-1, n_classes) - log_q[hidden])).sum(1)  # Eq. 7
        bounds = -(minus_l[: len(known)].sum() + minus_u.sum()) / len(batch.labels)  # Eq. 8
        cross_entropy = -log_q[known, batch.labels[known]].sum() / max(1, len(known))
        if isinstance(network, VoxelM2):
            return bounds / network.n_voxels + self.alpha_on_voxels * cross_entropy
        return bounds + self.alpha * cross_entropy  # Eq. 9

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Train M2 on the voxels, or the stack: first M1, then M2 on its features."""
        if trainer.protocol.equal_steps:
            return super().fit(data, trainer)
        return self._fit_stack(data, trainer)

    def restore(self, backbone: Backbone, weights: dict[str, Tensor]) -> nn.Module:
        """M2 on the voxels or the stack, whichever the weights belong to."""
        if "m2.q_y.0.weight" not in weights:
            return super().restore(backbone, weights)
        stack = Stack(M1(backbone.box), FeatureM2(backbone.n_classes, len(weights["m2.q_y.0.weight"])))
        stack.load_state_dict(weights)
        return stack

    def _fit_stack(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Train M1 once per seed; then M2 at learning rate 3e-4 for 30 times the epochs (3,000 at the paper's 100).

        Kingma's code draws the features from q(z|x) in each epoch; here they are its means, as in prediction.
        """
        # M1 has none of M2's hyperparameters: whatever they are, it is the same one.
        m1 = trainer.pretrained("m1", M2(), M1(trainer.backbone.box), M1.loss, data)
        with torch.no_grad():
            features = Feed(in_batches(m1.features, data.volumes))
            validation = Feed(in_batches(m1.features, data.validation_volumes))
        labels, classes = data.labels, trainer.backbone.n_classes
        units = 300 if int((labels != UNLABELLED).sum()) <= 10 * classes else 500  # as in Kingma's code
        network = trainer.initialise(FeatureM2(classes, units), "m2")
        on_features = TrainingData(features, labels, validation, data.validation_labels)
        epochs = 30 * trainer.budget.epochs
        run = trainer.start(network, self.loss, on_features, "m2", epochs=epochs, recipe=Recipe(learning_rate=3e-4))
        return Stack(m1, run.finish().best())


class VoxelM2(nn.Module):
    """M2 on voxels: q(y|x), q(z|x,y) and p(x|y,z) with the shared layers; Gaussian voxels of variance 1."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.n_classes = backbone.n_classes
        self.n_voxels = backbone.box**3
        self.encoder = backbone.encoder()
        self.classifier = backbone.classifier()
        self.to_latent = nn.Linear(CODE_SIZE + backbone.n_classes, 2 * LATENT_SIZE)
        self.decoder = backbone.decoder(LATENT_SIZE + backbone.n_classes)

    def features(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → (b, c, m, m, m)."""
        features: Tensor = self.encoder(volumes)
        return features

    def class_logits(self, features: Tensor) -> Tensor:
        """Logits of q(y|x)."""
        logits: Tensor = self.classifier(features)
        return logits

    def posterior(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x,y)."""
        code = torch.cat([self.encoder.code(features), F.one_hot(y, self.n_classes)], 1)
        return _halves(self.to_latent(code))

    def rebuild(self, y: Tensor, z: Tensor) -> Tensor:
        """Mean of p(x|y,z), (rows, 1, n, n, n)."""
        volumes: Tensor = self.decoder(torch.cat([z, F.one_hot(y, self.n_classes)], 1))
        return volumes

    def log_likelihood(self, volumes: Tensor, volume: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Log p(x|y,z) of `volumes[volume]`, (rows,)."""
        error = (self.rebuild(y, z) - volumes[volume]).square() + LOG_2PI
        return -0.5 * error.flatten(1).sum(1)

    def logits(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → (b, classes)."""
        return self.class_logits(self.features(volumes))

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """The mean volume of the most likely class, at the mean of the latent code."""
        features = self.features(volumes)
        y = self.class_logits(features).argmax(1)
        return self.rebuild(y, self.posterior(features, y)[0])


class FeatureM2(nn.Module):
    """M2 on M1's features: one hidden layer of softplus units; Gaussian features of learned variance."""

    def __init__(self, n_classes: int, units: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.q_y = nn.Sequential(nn.Linear(LATENT_SIZE, units), nn.Softplus(), nn.Linear(units, n_classes))
        self.q_z = nn.Sequential(
            nn.Linear(LATENT_SIZE + n_classes, units), nn.Softplus(), nn.Linear(units, 2 * LATENT_SIZE)
        )
        self.p_x = nn.Sequential(
            nn.Linear(LATENT_SIZE + n_classes, units), nn.Softplus(), nn.Linear(units, 2 * LATENT_SIZE)
        )

    def features(self, features: Tensor) -> Tensor:
        """The input itself: M1 has computed the features."""
        return features

    def class_logits(self, features: Tensor) -> Tensor:
        """Logits of q(y|x)."""
        logits: Tensor = self.q_y(features)
        return logits

    def logits(self, features: Tensor) -> Tensor:
        """(b, 50) → (b, classes)."""
        return self.class_logits(features)

    def posterior(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x,y)."""
        return _halves(self.q_z(torch.cat([features, F.one_hot(y, self.n_classes)], 1)))

    def log_likelihood(self, features: Tensor, volume: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Log p(x|y,z) of `features[volume]`, (rows,)."""
        mean, log_variance = _halves(self.p_x(torch.cat([z, F.one_hot(y, self.n_classes)], 1)))
        error = (features[volume] - mean).square() / log_variance.exp() + log_variance + LOG_2PI
        return -0.5 * error.sum(1)


class M1(nn.Module):
    """The variational autoencoder: two hidden layers of 500 softplus units in each half, 50 latent units."""

    def __init__(self, box: int) -> None:
        super().__init__()
        self.box = box
        self.q_z = _perceptron(box**3, 2 * LATENT_SIZE)
        self.p_x = _perceptron(LATENT_SIZE, box**3)

    def features(self, volumes: Tensor) -> Tensor:
        """Mean of q(z|x), (b, 50)."""
        return _halves(self.q_z(volumes))[0]

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → the same shape."""
        rebuilt: Tensor = self.p_x(self.features(volumes)).view(volumes.shape)
        return rebuilt

    def loss(self, batch: Batch) -> Tensor:
        """The negative variational bound (Kingma et al. 2014, Eq. 3), in nats per voxel."""
        mean, log_variance = _halves(self.q_z(batch.volumes))
        noise = torch.randn(mean.shape, generator=batch.generator, device=mean.device)
        rebuilt = self.p_x(mean + (0.5 * log_variance).exp() * noise)
        log_p_x = -0.5 * ((rebuilt - batch.volumes.flatten(1)).square() + LOG_2PI).sum(1)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        bound: Tensor = (kl - log_p_x).sum() / batch.volumes.numel()
        return bound


class Stack(nn.Module):
    """M1 and M2 as one network on voxels: M1 reconstructs, M2 classifies."""

    def __init__(self, m1: M1, m2: FeatureM2) -> None:
        super().__init__()
        self.m1 = m1
        self.m2 = m2

    def logits(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → (b, classes)."""
        return self.m2.logits(self.m1.features(volumes))

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → the same shape."""
        return self.m1.reconstruct(volumes)


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, 500), nn.Softplus(), nn.Linear(500, 500), nn.Softplus(), nn.Linear(500, outputs)
    )


def _halves(joined: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = joined.chunk(2, 1)
    return mean, log_variance
