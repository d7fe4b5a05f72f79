"""NEFTune's noise on flattened rows: as strong for each sample as if it stood alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel


class Noise:
    """A hook on the embedding that adds noise, uniform in ±alpha / sqrt(tokens of the sample × width), while it is trained.

    The length is that of each sample, as in the paper's own code, which leaves padding out. transformers takes the length
    of the row instead: of a padded batch the longest sample's, of a flattened one the sum of all.

    Source: NEFTune, arXiv 2310.05914, algorithm 1.

    Args:
        alpha: neftune_noise_alpha.
    """

    def __init__(self, alpha: float):
        self._alpha = alpha
        self.positions: torch.Tensor  # (1, tokens), 0 where a sample begins; of the row that comes next

    def __call__(self, module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return output
        lengths = token_lengths(self.positions).to(output.device)
        bounds = self._alpha / (lengths * output.shape[-1]).sqrt()
        noise = torch.empty_like(output).uniform_(-1, 1)
        return output + noise * bounds[..., None].to(output.dtype)


def token_lengths(positions: torch.Tensor) -> torch.Tensor:
    """For each token of a flattened row the length of its sample: (1, tokens), as floats."""
    sample = (positions == 0).cumsum(-1) - 1
    return sample[0].bincount().float()[sample]


@contextmanager
def added_noise(model: PreTrainedModel, noise: Noise | None) -> Iterator[None]:
    """Has the input embedding of `model` add `noise` until the block ends, however it ends."""
    if noise is None:
        yield
        return
    # With an adapter around it too, the embedding is that of the model within.
    hook = model.get_input_embeddings().register_forward_hook(noise)
    try:
        yield
    finally:
        hook.remove()
