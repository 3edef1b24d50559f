"""DPT-LeViT as an ONNX graph, made from the state dict with NumPy alone.

It equals the torch module in `dpt_levit_torch.py` to rounding. Batch normalisations are folded into
the layers before them, and the biases of the attention are laid out for every two patches. Tokens
are (1, n, C).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.models.dpt import Levit
from midas_depth_ros.depth.models.dpt_graph import DptGraph
from midas_depth_ros.depth.models.layers import NORM_EPSILON
from midas_depth_ros.depth.models.spec import Weights, folded_norm
from midas_depth_ros.depth.models.state_graph import REST, SAME

Numbers = NDArray[np.float32]


class LevitGraph(DptGraph):
    """The whole network: `network` adds it."""

    def __init__(self, weights: Weights, size: Levit) -> None:
        super().__init__(weights)
        self.size = size

    def network(self, picture: str, depth: str) -> None:
        """From a picture (1, 3, H, W), normalised, to (1, 1, H, W)."""
        path = self.decoder(self.encoder(picture), 'scratch', odd=True)
        for place in range(len(self.size.after)):
            name = f'scratch.stem_transpose.{2 * place}'
            factor, shift = folded_norm(self.state, f'{name}.bn', NORM_EPSILON)
            kernel = self.entry(f'{name}.c.weight') * factor[:, np.newaxis, np.newaxis]
            path = self.hard_swish(self.doubled_by(path, name, kernel, shift))
        self.head(path, 'scratch.output_conv', depth)

    def encoder(self, picture: str) -> list[str]:
        """Features of the three stages, (1, C, h, w) each."""
        size, name = self.size, 'pretrained.model'
        tokens = self.in_row(self.stem(picture, f'{name}.patch_embed'), 'tokens')
        found, number = [], 0
        for stage, channels in enumerate(size.channels):
            if stage:
                tokens = self.subsampled(tokens, f'{name}.blocks.{number}', stage)
                tokens = self.with_mlp(tokens, f'{name}.blocks.{number + 1}')
                number += 2
            last_pair = stage + 1 == len(size.channels)
            # What follows the last tap is unused.
            for pair in range(size.taps[stage] if last_pair else size.pairs[stage]):
                tokens = self.with_attention(tokens, f'{name}.blocks.{number}', stage)
                tokens = self.with_mlp(tokens, f'{name}.blocks.{number + 1}')
                number += 2
                if pair + 1 == size.taps[stage]:
                    side, place = size.sides[stage], f'features.{stage}'
                    square = self.reshaped(tokens, f'{place}.last', (1, side, side, channels))
                    found.append(self.transposed(square, place, (0, 3, 1, 2)))
        return found

    def stem(self, value: str, name: str) -> str:
        """Four convolutions of stride 2."""
        for place in range(len(self.size.stem)):
            layer = f'{name}.{2 * place}'
            factor, shift = folded_norm(self.state, f'{layer}.bn', NORM_EPSILON)
            kernel = self.entry(f'{layer}.c.weight') * factor[:, np.newaxis, np.newaxis, np.newaxis]
            value = self.hard_swish(value) if place else value
            value = self.convolution(value, layer, kernel, shift, stride=2, padding=(1, 1))
        return value

    def in_row(self, features: str, name: str) -> str:
        """(1, C, h, w) as (1, h w, C)."""
        last = self.transposed(features, f'{name}.last', (0, 2, 3, 1))
        return self.reshaped(last, name, (1, REST, self.size.channels[0]))

    def with_mlp(self, tokens: str, name: str) -> str:
        hidden = self.hard_swish(self.matrix(tokens, f'{name}.m.0', *self.folded(f'{name}.m.0')))
        change = self.matrix(hidden, f'{name}.m.2', *self.folded(f'{name}.m.2'))
        return self.sum(tokens, change, name)

    def with_attention(self, tokens: str, name: str, stage: int) -> str:
        """Every patch asks every patch."""
        size, heads = self.size, self.size.heads[stage]
        query, key, value = self.parts(
            tokens, f'{name}.m.qkv', heads, (size.key, size.key, size.value)
        )
        bias = self.biases(f'{name}.m', size.sides[stage], size.sides[stage])
        return self.sum(tokens, self.answers(query, key, value, f'{name}.m', bias), name)

    def subsampled(self, tokens: str, name: str, stage: int) -> str:
        """Every second patch of every second row asks every patch."""
        size = self.size
        before, side = size.sides[stage - 1 : stage + 1]
        heads = size.channels[stage - 1] // size.key
        key, value = self.parts(tokens, f'{name}.kv', heads, (size.key, 2 * size.value))
        places = np.arange(before**2).reshape(before, before)[::2, ::2].ravel()
        asking = self.integers(f'{name}.places', places.tolist())
        asking = self.add('Gather', [tokens, asking], f'{name}.asking', axis=1)
        (query,) = self.parts(asking, f'{name}.q.1', heads, (size.key,))
        return self.answers(query, key, value, name, self.biases(name, side, before))

    def parts(self, tokens: str, name: str, heads: int, parts: Sequence[int]) -> list[str]:
        """Queries, keys and values, (1, heads, n, part) each, but keys (1, heads, part, n).

        In the file each head's parts stand together. Keys are the part before the last.
        """
        kernel, shift = self.folded(name)
        kernel, shift = kernel.reshape(heads, sum(parts), -1), shift.reshape(heads, -1)
        found, first = [], 0
        for place, part in enumerate(parts):
            rows = slice(first, first + part)
            each = f'{name}.{place}'
            flat = kernel[:, rows].reshape(heads * part, -1), shift[:, rows].ravel()
            value = self.matrix(tokens, each, *flat)
            value = self.reshaped(value, f'{each}.split', (SAME, REST, heads, part))
            order = (0, 2, 3, 1) if place + 2 == len(parts) else (0, 2, 1, 3)
            found.append(self.transposed(value, f'{each}.heads', order))
            first += part
        return found

    def answers(self, query: str, key: str, value: str, name: str, bias: str) -> str:
        """The values, mixed by how well key and query agree."""
        mixed = self.attention(query, key, value, name, self.size.key**-0.5, bias)
        mixed = self.transposed(mixed, f'{name}.last', (0, 2, 1, 3))
        kernel, shift = self.folded(f'{name}.proj.1')
        flat = self.reshaped(mixed, f'{name}.flat', (1, REST, kernel.shape[1]))
        return self.matrix(self.hard_swish(flat), f'{name}.proj', kernel, shift)

    def folded(self, name: str) -> tuple[Numbers, Numbers]:
        """Kernel (given, taken) and bias of a linear layer and the normalisation after it."""
        factor, shift = folded_norm(self.state, f'{name}.bn', NORM_EPSILON)
        return self.entry(f'{name}.c.weight') * factor[:, np.newaxis], shift

    def biases(self, name: str, asking: int, asked: int) -> str:
        """What each of asking**2 patches adds for each of asked**2: (1, heads, ., .)."""
        table = self.entry(f'{name}.attention_biases')[:, distances(asking, asked)]
        return self.weight(f'{name}.bias', table[np.newaxis])

    def hard_swish(self, value: str) -> str:
        return self.add('HardSwish', [value], f'{value}.swish')


def distances(asking: int, asked: int) -> NDArray[np.int64]:
    """Which bias belongs to which two patches: (asking**2, asked**2).

    The squares have `asking` and `asked` patches along a side; where the former are fewer, they are
    every second of the latter, in every second row. There is one bias for each distance down and
    right, without its sign.
    """
    step = 1 if asking == asked else 2
    apart = np.abs(step * np.arange(asking)[:, np.newaxis] - np.arange(asked))
    index = asked * apart[:, np.newaxis, :, np.newaxis] + apart[np.newaxis, :, np.newaxis, :]
    return index.reshape(asking**2, asked**2)
