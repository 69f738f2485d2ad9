"""Mean Teacher: a network that agrees with the moving average of its own weights; the Pi-model as its limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench.base.parameters import parameter
from bench.learning.averaging import rate
from bench.learning.consistency import mean, mean_cross_entropy
from bench.learning.contracts import Batch, TrainingData
from bench.learning.method import Method
from bench.learning.networks import Backbone, ClassifierNetwork, statistics_kept
from bench.learning.trainer import Trainer

RISE = 0.4  # of the training, in which the weight of the unlabelled volumes rises from 0


@dataclass(frozen=True)
class MeanTeacher(Method):
    """Agree with the moving average of one's own weights, the teacher (Tarvainen and Valpola 2017, Section 2).

    The teacher classifies in the end. Its decay is min(1 − 1/(t + 1), decay) at step t as published, but follows from
    the length of the training. Without a memory the teacher is the network itself: the Pi-model (Laine and Aila 2017)
    with the gradient through one of its two branches. The weight is that of Oliver et al. 2018.
    """

    title = "Mean Teacher"

    weight: float = parameter(8.0, "weight of the unlabelled volumes, once it has risen", low=0, high=1e6)
    memory: float = parameter(0.1, "memory of the teacher, as a share of the training; 0: Pi-model", low=0, high=1)

    def build(self, backbone: Backbone) -> MeanTeacherNetwork:
        """Encoder3D's convolutions and Classifier3D, twice."""
        return MeanTeacherNetwork(backbone)

    def loss(self, network: MeanTeacherNetwork, batch: Batch) -> Tensor:
        """CE + λ(t) · mean over unlabelled volumes and classes of (p(strong) − p_teacher(weak))².

        λ(t) rises in proportion to the progress of the training, over its first 40 %.
        """
        labelled, unlabelled = batch.labelled(), batch.unlabelled()
        supervised = mean_cross_entropy(network.logits(labelled.volumes), labelled.labels)
        with statistics_kept(network):
            with torch.no_grad():
                wanted = network.averaged.logits(unlabelled.weak()).softmax(1)
            error = (network.student.logits(unlabelled.strong()).softmax(1) - wanted).square().mean(1)  # (b,)
        return supervised + self.weight * min(1.0, batch.progress / RISE) * mean(error)

    def after_step(self, network: MeanTeacherNetwork, progress: float) -> None:
        """Move the teacher towards the student."""
        teacher = network.teacher
        teacher.multi_avg_fn = get_ema_multi_avg_fn(1 - rate(int(teacher.n_averaged) + 1, progress, self.memory))
        teacher.update_parameters(network.student)

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Train on `data`, with a teacher that begins as the student."""
        network = trainer.initialise(self.build(trainer.backbone))
        network.teacher.module.load_state_dict(network.student.state_dict())
        run = trainer.start(network, self.loss, data, after_step=self.after_step, recipe=self.recipe)
        return run.finish().best()


class MeanTeacherNetwork(nn.Module):
    """A student, which is trained, and its teacher, which is not; the teacher's running statistics are averages too."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.student = ClassifierNetwork(backbone)
        self.teacher = AveragedModel(self.student, use_buffers=True).requires_grad_(False)

    def logits(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → (b, classes): the student's in training, else the teacher's."""
        return (self.student if self.training else self.averaged).logits(volumes)

    @property
    def averaged(self) -> ClassifierNetwork:
        """The teacher's network."""
        return cast("ClassifierNetwork", self.teacher.module)
