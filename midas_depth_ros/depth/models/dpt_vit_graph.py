"""DPT-Large and DPT-Hybrid as ONNX graphs, made from the state dict with NumPy alone.

They equal the torch modules in `dpt_vit_torch.py` to rounding, and take every size whose sides are
multiples of 32.
"""

from __future__ import annotations

from midas_depth_ros.depth.models.dpt import RESIZING_KERNELS, TransformerEncoder
from midas_depth_ros.depth.models.dpt_resnet_graph import ResNetGraph
from midas_depth_ros.depth.models.spec import Weights
from midas_depth_ros.depth.models.vit_graph import TransformerGraph

MODEL = 'pretrained.model'
END = 2**62  # behind the last of an axis


class DptVitGraph(TransformerGraph, ResNetGraph):
    """The whole network: `network` adds it."""

    def __init__(self, weights: Weights, encoder: TransformerEncoder) -> None:
        super().__init__(weights, MODEL, encoder.transformer)
        self.encoder = encoder

    def network(self, picture: str, depth: str) -> None:
        """From a picture (1, 3, H, W), normalised, to (1, 1, H, W)."""
        encoder, embedding = self.encoder, f'{MODEL}.patch_embed'
        features: list[str] = []
        value, patch = picture, encoder.transformer.patch
        if encoder.resnet:
            *features, value = self.resnet(picture, f'{embedding}.backbone', encoder.resnet)
            patch = 1
        patches = self.conv(value, f'{embedding}.proj', patch)
        sides = self.sides(patches, 'sides')
        answers = self.answers(patches, self.positions(sides), encoder.taps)
        for level, answer in enumerate(answers, start=5 - len(answers)):
            features.append(self.reassembled(answer, level, sides))
        self.head(self.decoder(features, 'scratch'), 'scratch.output_conv', depth)

    def positions(self, sides: str) -> str:
        """The embedding of the positions, resized to `sides`: (1, h, w, C)."""
        wide, grid = self.size.channels, self.size.grid
        places = self.entry(f'{MODEL}.pos_embed')[0, 1:]
        square = self.weight('positions', places.T.reshape(1, wide, grid, grid))
        resized = self.resized(square, 'positions.resized', wide, sides, corners=False)
        return self.transposed(resized, 'positions.last', (0, 2, 3, 1))

    def reassembled(self, tokens: str, level: int, sides: str) -> str:
        """Tokens as features again, told the class token, at the size of their stride."""
        name = f'pretrained.act_postprocess{level}'
        project, wide = f'{name}.0.project.0', self.size.channels
        kernel, bias = self.entry(f'{project}.weight'), self.entry(f'{project}.bias')
        # The class token's part of the linear layer is the same for all.
        first = self.sliced(tokens, f'{name}.first', 0, 1)
        told = self.matrix(first, f'{name}.told', kernel[:, wide:], bias)
        places = self.sliced(tokens, f'{name}.places', 1, END)
        value = self.matrix(places, project, kernel[:, :wide], None)
        value = self.gelu(self.sum(value, told, f'{name}.sum'))
        value = self.features(value, f'{name}.features', sides, wide)
        value = self.conv(value, f'{name}.3')
        resizing = RESIZING_KERNELS[level]
        if resizing is None:
            return value
        if resizing == 3:
            return self.conv(value, f'{name}.4', stride=2)
        return self.enlarged(value, f'{name}.4')
