"""The recurrent network of DAPs, its losses and its training."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kloc import seeds
from kloc.errors import FormatError
from kloc.threads import one_thread


class TrainingSettings(Protocol):
    """The settings that training reads."""

    @property
    def alpha(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def clip_norm(self) -> float: ...


class StreamNetwork(nn.Module):
    """One LSTM layer over ``(S, steps, P)``; its last state gives K offsets and K confidences.

    The forget gate starts open (bias +5), the location head at zero: untrained proposals are the anchors.
    """

    def __init__(self, n_inputs: int, hidden: int, n_anchors: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator
            self.lstm = nn.LSTM(n_inputs, hidden, batch_first=True)
            self.loc = nn.Linear(hidden, 2 * n_anchors)
            self.conf = nn.Linear(hidden, n_anchors)
        generator = torch.Generator().manual_seed(int(seeds.generator(seed, "daps", "init").integers(2**62)))
        bound = hidden**-0.5
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-bound, bound, generator=generator)
            for name in ("bias_ih_l0", "bias_hh_l0"):  # gates in torch's order: input, forget, cell, output
                getattr(self.lstm, name)[hidden : 2 * hidden] = 5.0 if name == "bias_ih_l0" else 0.0
            self.loc.weight.zero_()
            self.loc.bias.zero_()

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets ``(S, K, 2)`` and confidence logits ``(S, K)``."""
        states, _ = self.lstm(inputs)
        last = states[:, -1]
        return self.loc(last).unflatten(1, (-1, 2)), self.conf(last)

    @one_thread()
    @torch.inference_mode()
    def infer(self, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Offsets ``(S, K, 2)`` and confidences ``(S, K)`` in [0, 1]."""
        offsets, logits = self(torch.from_numpy(inputs))
        return offsets.numpy(), torch.sigmoid(logits).numpy()

    def restore(self, state: dict[str, Tensor], path: Path) -> None:
        """Load weights; raises FormatError naming ``path`` where they are not of this network."""
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise FormatError(f"{path}: weights do not fit their settings; train the DAPs again") from error


def location_loss(offsets: Tensor, targets: Tensor, matched: Tensor) -> Tensor:
    """Squared distance to the matched instances, mean over the matched anchors; 0 where there are none."""
    distance = ((offsets - targets) ** 2).sum(dim=2)
    return (distance * matched).sum() / matched.sum().clamp(min=1)


def confidence_loss(logits: Tensor, matched: Tensor, positive_weight: float, negative_weight: float) -> Tensor:
    """Cross-entropy of confidence against being matched, weighted, mean over all anchors."""
    weights = torch.where(matched > 0, positive_weight, negative_weight)
    return nn.functional.binary_cross_entropy_with_logits(logits, matched, weight=weights)


def balance(matched: NDArray[np.bool_]) -> tuple[float, float]:
    """Weights ``N / (2 N+)`` and ``N / (2 N-)`` of the two classes, each within [0.1, 50]."""
    n_positive = max(1, int(matched.sum()))
    n_negative = max(1, matched.size - int(matched.sum()))
    return (
        float(np.clip(matched.size / (2 * n_positive), 0.1, 50)),
        float(np.clip(matched.size / (2 * n_negative), 0.1, 50)),
    )


@one_thread()
def train(
    network: StreamNetwork,
    inputs: NDArray[np.float32],
    matched: NDArray[np.bool_],
    targets: NDArray[np.float32],
    settings: TrainingSettings,
    seed: int,
    device: str = "cpu",
) -> list[float]:
    """Adam on ``alpha * location + confidence``; the network ends on the CPU. Returns each epoch's mean loss."""
    network.to(device)
    data = [torch.from_numpy(a).to(device) for a in (inputs, targets, matched.astype(np.float32))]
    weights = balance(matched)
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    rng = seeds.generator(seed, "daps", "batches")
    losses = []
    for _ in range(settings.epochs):
        total = 0.0
        order = torch.from_numpy(rng.permutation(len(inputs)))
        for first in range(0, len(order), settings.batch_size):
            batch = order[first : first + settings.batch_size]
            x, goal, found = (tensor[batch.to(device)] for tensor in data)
            offsets, logits = network(x)
            loss = settings.alpha * location_loss(offsets, goal, found) + confidence_loss(logits, found, *weights)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
            optimizer.step()
            total += float(loss.detach()) * len(batch)
        losses.append(total / len(inputs))
    network.to("cpu").eval()
    return losses
