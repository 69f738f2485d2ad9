"""FixMatch: confident pseudo-labels of weak views, learned on strong views; with UDA as an option."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from bench.base.parameters import parameter
from bench.learning.consistency import AlignedNetwork, mean, mean_cross_entropy, weak_and_strong
from bench.learning.contracts import Batch
from bench.learning.method import Method
from bench.learning.networks import Backbone, ClassifierNetwork


@dataclass(frozen=True)
class FixMatch(Method):
    """Learn on a strong view the pseudo-label of a weak view, where it is confident (Sohn et al. 2020, Eqs. 3-4).

    Defaults of the paper. `soft` makes it UDA (Xie et al. 2020): the target is the sharpened prediction. `align` adds
    the distribution alignment of Berthelot et al. 2020, to the shares of the classes in the labelled volumes. The
    paper's moving average of the weights is the run's choice (--select), for all methods alike.
    """

    title = "FixMatch"

    weight: float = parameter(1.0, "weight of the unlabelled volumes", low=0, high=1e6)
    threshold: float = parameter(0.95, "confidence above which a pseudo-label is learned", low=0, high=1)
    align: bool = parameter(False, "align the predictions with the class shares of the labelled volumes")
    soft: bool = parameter(False, "UDA: learn the sharpened prediction instead of its most likely class")
    soft_threshold: float = parameter(0.8, "the threshold where soft", low=0, high=1)
    temperature: float = parameter(0.4, "of the sharpened prediction; lower is sharper", low=0.01, high=1)

    def build(self, backbone: Backbone) -> ClassifierNetwork:
        """Encoder3D's convolutions and Classifier3D."""
        return AlignedNetwork(backbone) if self.align else ClassifierNetwork(backbone)

    def loss(self, network: ClassifierNetwork, batch: Batch) -> Tensor:
        """CE + λ · mean over the unlabelled volumes of 1[max q > τ] · H(target, p(strong)), q = p(weak).

        The target is the class argmax q, or q^(1/T) made to sum to 1.
        """
        labelled, unlabelled = batch.labelled(), batch.unlabelled()
        supervised = mean_cross_entropy(network.logits(labelled.volumes), labelled.labels)
        q, strong = weak_and_strong(network, unlabelled)
        if isinstance(network, AlignedNetwork):
            known = F.one_hot(labelled.labels, q.shape[1]).to(q.dtype)
            q = network.alignment(q, known, batch.progress)
        confidence, pseudo_labels = q.max(1)
        used = confidence > (self.soft_threshold if self.soft else self.threshold)
        unlabelled.guess(pseudo_labels, used)
        targets = (q.log() / self.temperature).softmax(1) if self.soft else pseudo_labels
        return supervised + self.weight * mean(used * F.cross_entropy(strong, targets, reduction="none"))
