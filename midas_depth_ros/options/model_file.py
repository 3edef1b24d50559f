"""How a model file of another maker is to be used: the parameters `model_file.*`.

They are not called `model.*`: a parameter file cannot hold both `model: path.onnx` and a table
`model:`. The names, and what each accepts, are those of `depth.file_description.FIELDS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from midas_depth_ros.depth.file_description import FIELDS, BadField, parsed
from midas_depth_ros.depth.models.usage import MEANINGS, RESIZES, SIZE_RULES
from midas_depth_ros.options.declarations import NAN, Options, parameter, specs

AUTO = 'auto'
UNKNOWN = 'as the file or what is known of it says'


def _check(name: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not text:
            return ''
        try:
            FIELDS[name].parse(text)
        except (ValueError, TypeError, OverflowError):
            return f'{text[:80]!r} is not accepted: give {FIELDS[name].accepts}'
        return ''

    return check


def _text(name: str, text: str) -> Any:
    return parameter('', f'{text}; empty = {UNKNOWN}.', check=_check(name))


def _choice(choices: Iterable[str], text: str) -> Any:
    return parameter(AUTO, f'{text}; {AUTO} = {UNKNOWN}.', choices=(AUTO, *choices))


@dataclasses.dataclass(frozen=True)
class ModelFileOptions(Options):
    """How a model file of another maker is to be used; what is not given, is found out."""

    output_meaning: str = _choice(
        MEANINGS,
        'What the network gives: inverse_depth (relative, larger = nearer), disparity, depth '
        '(relative, larger = farther), metres',
    )
    focal_reference: float = parameter(
        NAN,
        'Of a network whose metres are output * focal length / reference: the reference, in pixels '
        'of the network input; NaN = its metres do not depend on the focal length.',
        unit='px',
        minimum=0.001,
        maximum=1e6,
    )
    output: str = _text('output', 'Name of the output that is depth, of several')
    colour: str = _choice(('rgb', 'bgr'), 'Order of the colours in the input')
    range: str = _choice(('1', '255'), 'Colours go from 0 to this')
    mean: str = _text(
        'mean',
        'Subtracted from red, green and blue, in units of range, such as 0.485, 0.456, 0.406; none '
        '= the network does it itself',
    )
    std: str = _text('std', 'Divides red, green and blue after mean; none = as for mean')
    input_size: str = _text(
        'input_size',
        'Height and width of the network input, such as 384, 672; exact without size_rule',
    )
    size_rule: str = _choice(
        SIZE_RULES,
        'How a picture gets that size: stretch, fit (into it), short_side or long_side (which '
        'becomes that long), nearest_scale (whichever changes less), letterbox (fit, the rest '
        'filled)',
    )
    multiple_of: int = parameter(
        0,
        'Both sides of a free network size are multiples of this; 0 = as the file shows.',
        unit='px',
        minimum=0,
        maximum=512,
    )
    resize: str = _choice(RESIZES, 'Interpolation of the picture')

    def given(self) -> dict[str, Any]:
        """The fields that are given, for `load_estimator`."""
        values = {spec.name: getattr(self, spec.name) for spec in specs(ModelFileOptions)}
        return {
            name: value
            for name, value in values.items()
            if value not in ('', AUTO, 0) and value == value  # NaN: not given
        }

    def conflict(self) -> str:
        """Return why these values contradict each other, '' if they do not."""
        try:
            parsed(self.given(), 'model_file')
        except BadField as fault:
            given = ', '.join(f'model_file.{name}' for name in self.given())
            return f'{fault} (given: {given})'
        return ''
