"""Finds out how a model file of another maker is to be used: from what is said of it, or a guess.

In: a file's graph and metadata, and the user's parameters. Out: a `FileDescription`. In this order:
parameters, a YAML file beside it, its metadata, the table of known files, preprocessor_config.json,
and what its graph shows. Only the first four may say that a network gives depth or metres. What
cannot be told is refused with the parameter to set.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from midas_depth_ros.depth.errors import WeightsError, WeightsMismatch, printable, shown
from midas_depth_ros.depth.file_description import (
    ASSUMED,
    DEPTH_RANGE_M,
    MOST_ASPECT,
    NONE,
    PREFIX,
    BadField,
    FileDescription,
    as_text,
    merged,
    parsed,
)
from midas_depth_ros.depth.files import read_file
from midas_depth_ros.depth.graph_facts import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    GraphFacts,
    GraphView,
    facts_of,
)
from midas_depth_ros.depth.known_files import KNOWN_FILES
from midas_depth_ros.depth.meaning import guessed_meaning
from midas_depth_ros.depth.models.usage import MEANINGS
from midas_depth_ros.depth.onnx_reader import Value
from midas_depth_ros.depth.yaml_values import NotYaml, load_yaml

SIDES_NAMED = 4  # inputs or outputs, in an error text
MOST_SETTINGS_BYTES = 1 << 20
PREPROCESSOR = 'preprocessor_config.json'
YAML_ENDS = ('.yaml', '.yml')
TAKEN = ('float32', 'float16', 'float64', 'uint8')  # element types of an input
DEPTH_NAMES = ('depth', 'predicted_depth')  # of the output, among several
# Where a free size is not stated: Depth Anything's rule for patches of 14, else a modest size.
PATCH_14, SHORT_SIDE, LONG_SIDE, MULTIPLE = 14, 518, 384, 32
PICTURE_AXES = {'nchw': (2, 3), 'nhwc': (1, 2), 'multi-view': (3, 4)}
CHANNEL_AXIS = {'nchw': 1, 'nhwc': 3, 'multi-view': 2}
RESAMPLES = {2: 'linear', 3: 'cubic'}  # Pillow's numbers, in preprocessor_config.json
PARAMETERS = 'the parameters'
TABLE = 'table of known files'
METADATA = 'metadata'

# In the name of a file: networks whose metres hold for one focal length.
FOR_ONE_FOCAL_LENGTH = re.compile(r'da3.?metric|anything.?v?3.?metric|metric3d', re.IGNORECASE)
NO_REFERENCE = (
    'by its name, its metres hold for one focal length, and are wrong by a factor for every other: '
    f'{PREFIX}.focal_reference is not set (300 for DA3METRIC, 1000 for Metric3D)'
)

Sources = list[tuple[str, dict[str, Any]]]


def describe(
    path: Path,
    graph: GraphView,
    *,
    given: Mapping[str, Any],
    metadata: Mapping[str, Any],
    sha256: str,
) -> FileDescription:
    """How the file is to be used.

    `given`: the user's parameters, by the names of `file_description.FIELDS`. `metadata`: the table
    in the file. `sha256`: of the file. Raises WeightsMismatch, which says what was found and what
    to set.
    """
    try:
        return _described(path, graph, given, metadata, sha256)
    except BadField as fault:
        takes, gives = in_words(graph.inputs), in_words(graph.outputs)
        found = fault.found if isinstance(fault, _Unclear) else None
        raise UnclearFile(
            f'{path} cannot be used: it takes {takes} and gives {gives}. {fault}', found
        ) from fault


class UnclearFile(WeightsMismatch):
    """It cannot be told how a file is to be used; `found`: what could be told, or None."""

    def __init__(self, text: str, found: FileDescription | None) -> None:
        super().__init__(text)
        self.found = found


class _Unclear(BadField):
    def __init__(self, text: str, found: FileDescription) -> None:
        super().__init__(text)
        self.found = found


def _described(
    path: Path,
    graph: GraphView,
    given: Mapping[str, Any],
    metadata: Mapping[str, Any],
    sha256: str,
) -> FileDescription:
    source, layout = the_input(graph)
    stated = _stated(path, given, metadata, sha256)
    output, why_output = the_output(graph, source, layout, stated)
    facts = facts_of(graph, source.name, CHANNEL_AXIS[layout], output.name)
    sides = tuple(source.sides[axis] for axis in PICTURE_AXES[layout])
    stated, notes = _with_fixed_size(stated, sides)
    if source.type_name == 'uint8':
        stated = _with_bytes(stated, notes)
    sources: Sources = [*stated, (why_output, {'output': output.name})]
    sources += _guessed_colours(source, facts)
    sources += _guessed_size(sides, facts)
    meaning, why = guessed_meaning(path, graph, source, output, layout, facts.ending)
    if meaning:
        sources.append((f'{ASSUMED} {why}', {'output_meaning': meaning}))
    values, origins, conflicts = merged(sources)
    if values.get('output_meaning') == 'metres':
        if 'depth_range_m' not in values:
            values['depth_range_m'], origins['depth_range_m'] = _guessed_range(facts.ending)
        if 'focal_reference' not in values and FOR_ONE_FOCAL_LENGTH.search(path.stem):
            notes.append(NO_REFERENCE)
    found = FileDescription(
        title=printable(path.name),
        source=source,
        layout=layout,
        values=values,
        origins=origins,
        conflicts=(*notes, *conflicts),
        outputs=tuple(graph.outputs),
    )
    if 'output_meaning' not in values:
        raise _Unclear(
            f'Whether it gives inverse depth or depth cannot be told ({why}): near and far could '
            f'be swapped. {_set("output_meaning", path)} to one of {", ".join(MEANINGS)}',
            found,
        )
    if 'mean' not in values:
        raise _Unclear(
            f'Which colours it expects cannot be told: {facts.inside.unclear}. '
            f'{_set("mean, std and range", path)}',
            found,
        )
    says_range = any('range' in fields for _, fields in stated)
    if says_range and values['range'] == 255 and origins['mean'].startswith(ASSUMED):
        raise _Unclear(
            f'range is 255 ({origins["range"]}), but not whether it subtracts a mean itself. '
            f'{_set("mean and std", path)}, to none where it does, or takes 0 to 255 as they are',
            found,
        )
    if 'focal_reference' in values and values['output_meaning'] != 'metres':
        raise BadField(
            f'focal_reference belongs to output_meaning metres, not to {values["output_meaning"]}: '
            'leave one of them out'
        )
    _check_multiples(values, origins, sides, facts.patch)
    found.network()
    return found


def _set(names: str, path: Path) -> str:
    """What to do: a parameter, or a line of the file beside it."""
    return f'Set {PREFIX}.{names} (or write it into {printable(path.stem)}.yaml beside it)'


def in_words(values: Sequence[Value]) -> str:
    """A list of inputs or outputs, cut where it is long."""
    more = f' and {len(values) - SIDES_NAMED} more' if len(values) > SIDES_NAMED else ''
    return (', '.join(map(str, values[:SIDES_NAMED])) or 'nothing') + more


# --- Input and output.


def the_input(graph: GraphView) -> tuple[Value, str]:
    """(the input, its layout). Raises BadField where it is not one picture."""
    if len(graph.inputs) != 1:
        raise BadField('Expected is one input, a picture: export the network with that input alone')
    (source,) = graph.inputs
    if source.type_name not in TAKEN:
        hint = ' (quantised from outside)' if source.type_name == 'int8' else ''
        raise BadField(
            f'Its input is {source.type_name}{hint}; expected is one of {", ".join(TAKEN)}: '
            'export it with an input of float32'
        )
    sides = source.sides
    if len(sides) == 5 and sides[2] in (3, None) and {sides[0], sides[1]} <= {1, None}:
        return source, 'multi-view'
    if len(sides) == 4 and sides[0] in (1, None):
        if sides[1] == 3 or (sides[1] is None and sides[3] != 3 and _takes_colours(graph)):
            return source, 'nchw'
        if sides[3] == 3:
            return source, 'nhwc'
    raise BadField(
        'Expected is one colour picture at a time, of the shape (1, 3, h, w), (1, h, w, 3) or '
        '(1, 1, 3, h, w): export it so'
    )


def _takes_colours(graph: GraphView) -> bool:
    """Whether the first convolution takes three channels, where the input does not say it."""
    for operation in graph.operations:
        if operation.kind == 'Conv' and len(operation.inputs) > 1:
            return graph.kernels.get(operation.inputs[1], (0, 0))[1] == 3
    return False


def the_output(graph: GraphView, source: Value, layout: str, stated: Sources) -> tuple[Value, str]:
    """(the output that is depth, where that comes from). Raises BadField where it is not clear."""
    by_name = {each.name: each for each in graph.outputs}
    for where, fields in stated:
        if 'output' in fields:
            if fields['output'] not in by_name:
                names = ', '.join(shown(name) for name in list(by_name)[:SIDES_NAMED])
                raise BadField(f'{where}: output {shown(fields["output"])} is none of {names}')
            return _map(by_name[fields['output']]), where
    if len(graph.outputs) == 1:
        return _map(graph.outputs[0]), 'the file: its only output'
    named = [by_name[name] for name in DEPTH_NAMES if name in by_name]
    if len(named) == 1:
        return _map(named[0]), f'the file: the output called {named[0].name}'
    high, wide = (source.sides[axis] for axis in PICTURE_AXES[layout])
    alike = [
        each
        for each in graph.outputs
        if None not in (high, wide) and list(_maps_sides(each)) == [high, wide]
    ]
    if len(alike) == 1:
        return alike[0], f'{ASSUMED} the only output of the size of the input'
    raise BadField(
        f'Which of its {len(graph.outputs)} outputs is depth cannot be told: set {PREFIX}.output'
    )


def _maps_sides(value: Value) -> list[int | None]:
    """The sides of an output without those that are 1, or before the last two and free."""
    sides = [side for side in value.sides if side != 1]
    while len(sides) > 2 and sides[0] is None:
        sides = sides[1:]
    return sides


def _map(value: Value) -> Value:
    """The value, if it may be one number for each pixel; BadField otherwise."""
    if len(_maps_sides(value)) > 2 or (value.sides and len(value.sides) < 2):
        raise BadField(
            f'Its output {value} is not one number for each pixel, such as (1, 1, h, w): set '
            f'{PREFIX}.output to another one, or export it so'
        )
    return value


# --- What is said of the file.


def _stated(
    path: Path, given: Mapping[str, Any], metadata: Mapping[str, Any], sha256: str
) -> Sources:
    """The sources that state something, the most trusted first."""
    sources: Sources = [
        (f'the parameter {PREFIX}.{name}', {name: value})
        for name, value in parsed(given, PARAMETERS).items()
    ]
    sources = _joined(sources)
    if beside := yaml_beside(path):
        sources.append((beside.name, parsed(_table_of(beside), beside.name)))
    sources.append((METADATA, parsed(metadata, METADATA, strict=False)))
    if sha256 in KNOWN_FILES:
        known = KNOWN_FILES[sha256]
        where = f'{TABLE}: {known.title}'
        sources.append((where, parsed(known.fields, where)))
    if config := _preprocessor_of(path):
        sources.append((config.name, preprocessor_fields(_json_of(config), config.name)))
    for _, fields in sources:
        # A size alone is the size, whatever the picture.
        if 'input_size' in fields and 'size_rule' not in fields:
            fields['size_rule'] = 'stretch'
    return [(where, fields) for where, fields in sources if fields]


def _joined(sources: Sources) -> Sources:
    """Parameters one by one, but for those that belong together."""
    together: dict[str, Any] = {}
    for _, fields in sources:
        together.update(fields)
    groups = (('range', 'mean', 'std'), ('input_size', 'size_rule', 'multiple_of'))
    joined: Sources = []
    for group in groups:
        part = {name: together.pop(name) for name in group if name in together}
        if part:
            names = ', '.join(f'{PREFIX}.{name}' for name in part)
            joined.append((f'the parameter {names}', part))
    joined += [(f'the parameter {PREFIX}.{name}', {name: v}) for name, v in together.items()]
    return joined


def yaml_beside(path: Path) -> Path | None:
    """The YAML file of a model: FILE.yaml for FILE.onnx, or FILE.onnx.yaml. BadField for both."""
    stems = (path.with_suffix(''), path)
    places = (stem.with_name(stem.name + end) for end in YAML_ENDS for stem in stems)
    found = [place for place in dict.fromkeys(places) if os.path.lexists(place)]
    if len(found) > 1:
        raise BadField(f'Both {found[0].name} and {found[1].name} describe it: remove one')
    return found[0] if found else None


def _table_of(path: Path) -> Mapping[Any, Any]:
    try:
        table = load_yaml(read_file(path, MOST_SETTINGS_BYTES).decode('utf-8'), unique=True)
    except (NotYaml, UnicodeDecodeError, WeightsError) as error:
        raise BadField(f'{path.name} cannot be read: {error}') from error
    if not isinstance(table, dict):
        raise BadField(f'{path.name}: expected are lines such as output_meaning: inverse_depth')
    return table


def _preprocessor_of(path: Path) -> Path | None:
    """preprocessor_config.json beside the file, or beside its folder where that is named onnx."""
    folders = [path.parent, *([path.parent.parent] if path.parent.name == 'onnx' else [])]
    places = (folder / PREPROCESSOR for folder in folders)
    return next((place for place in places if os.path.isfile(place)), None)


def _json_of(path: Path) -> Mapping[str, Any]:
    try:
        table = json.loads(read_file(path, MOST_SETTINGS_BYTES))
    except (ValueError, RecursionError, WeightsError) as error:
        raise BadField(f'{path.name} cannot be read: {error}') from error
    if not isinstance(table, dict):
        raise BadField(f'{path.name} is not a table: remove it, or copy it again')
    return table


def preprocessor_fields(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields that a preprocessor_config.json of transformers says. Raises BadField."""
    fields: dict[str, Any] = {}
    rescaled = config.get('do_rescale', True)
    factor = config.get('rescale_factor', 1 / 255)
    if rescaled and not (isinstance(factor, (int, float)) and abs(factor * 255 - 1) < 1e-3):
        raise BadField(f'{where}: rescale_factor is {shown(factor)}: only 1/255 is understood')
    fields['range'] = 1 if rescaled else 255
    if not config.get('do_normalize', True):
        fields.update(mean=NONE, std=NONE)
    elif 'image_mean' in config and 'image_std' in config:
        fields.update(mean=config['image_mean'], std=config['image_std'])
    if config.get('do_flip_channel_order') is True:
        fields['colour'] = 'bgr'
    size = config.get('size')
    if (
        isinstance(size, dict)
        and config.get('do_resize', True)
        and {'height', 'width'} <= set(size)
    ):
        fields['input_size'] = [size['height'], size['width']]
        square = size['height'] == size['width']
        kept = 'nearest_scale' if square else 'fit'
        fields['size_rule'] = kept if config.get('keep_aspect_ratio') else 'stretch'
    multiple = config.get('ensure_multiple_of', 1)
    if multiple != 1:
        fields['multiple_of'] = multiple
    if isinstance(config.get('resample'), int) and config['resample'] in RESAMPLES:
        fields['resize'] = RESAMPLES[config['resample']]
    return parsed(fields, where)


# --- What the graph shows, and what is assumed.


def _with_fixed_size(stated: Sources, sides: tuple[int | None, ...]) -> tuple[Sources, list[str]]:
    """(the sources without sizes that the file does not take, what was left out).

    Raises BadField where the user's own words ask for such a size.
    """
    fixed = tuple(side for side in sides if side is not None)
    if len(fixed) < 2:
        return stated, []
    kept: Sources = []
    notes = []
    for where, fields in stated:
        fields = dict(fields)
        size, rule = fields.pop('input_size', fixed), fields.pop('size_rule', 'stretch')
        fits = rule in ('stretch', 'letterbox')
        if size != fixed or not fits:
            said = f'{as_text(size)} ({rule})'
            text = f'it takes {fixed[0]} x {fixed[1]} (height x width) only, not {said}'
            if where.startswith('the parameter') or where.endswith(YAML_ENDS):
                raise BadField(f'{where}: {text}: leave input_size and size_rule out')
            notes.append(f'{text}, as {where} says')
        if rule == 'letterbox':
            fields['size_rule'] = rule
        fields.pop('multiple_of', None)
        kept.append((where, fields))
    return kept, notes


def _with_bytes(stated: Sources, notes: list[str]) -> Sources:
    """The sources without means and ranges, which bytes cannot have. Adds to `notes`.

    Raises BadField where the user, or the maker of the file, says such.
    """
    text = 'its input is bytes, which it takes from 0 to 255 as they are'
    as_they_are = {'range': (255,), 'mean': (NONE, (0.0,) * 3), 'std': (NONE, (1.0,) * 3)}
    kept: Sources = []
    for where, fields in stated:
        if any(fields.get(name, fine[0]) not in fine for name, fine in as_they_are.items()):
            if where != PREPROCESSOR:
                raise BadField(f'{where}: {text}: leave range, mean and std out')
            notes.append(f'{text}, other than {where} says')
            fields = {name: each for name, each in fields.items() if name not in as_they_are}
        kept.append((where, fields))
    return kept


def _guessed_size(sides: tuple[int | None, ...], facts: GraphFacts) -> Sources:
    high, wide = sides
    common = {'resize': 'area'}
    if high is not None and wide is not None:
        size = {'input_size': (high, wide), 'size_rule': 'stretch', 'multiple_of': 1}
        return [('the file: its shape', size), (f'{ASSUMED} usual', common)]
    if high is not None or wide is not None:
        raise BadField(
            'Only one side of its input is free: export it with both sides free, or with none'
        )
    if facts.patch == PATCH_14:
        size = {'input_size': (SHORT_SIDE,) * 2, 'size_rule': 'short_side', 'multiple_of': 14}
        why = 'patches of 14 x 14, as in Depth Anything'
    else:
        multiple = facts.patch if facts.patch and MULTIPLE % facts.patch else MULTIPLE
        side = LONG_SIDE // multiple * multiple
        size = {'input_size': (side, side), 'size_rule': 'long_side', 'multiple_of': multiple}
        why = 'any size, which costs little'
    return [(f'{ASSUMED} {why}', {**size, **common, 'most_aspect': MOST_ASPECT})]


def _check_multiples(
    values: dict[str, Any],
    origins: Mapping[str, str],
    sides: tuple[int | None, ...],
    patch: int,
) -> None:
    """Raise BadField where a free size is not a multiple of the patches that the graph shows."""
    if None not in sides or not patch:
        return
    multiple, size = values['multiple_of'], values['input_size']
    whole = values['size_rule'] in ('stretch', 'letterbox')
    if whole and any(side % patch for side in size):
        near = ', '.join(str(max(patch, round(side / patch) * patch)) for side in size)
        raise BadField(
            f'input_size is {as_text(size)} ({origins["input_size"]}), but it takes multiples of '
            f'{patch} only: give {near}'
        )
    if not whole and multiple % patch:
        raise BadField(
            f'multiple_of is {multiple} ({origins["multiple_of"]}), but it takes multiples of '
            f'{patch} only: give multiple_of {patch}'
        )


def _guessed_range(ending: str) -> tuple[tuple[float, float], str]:
    """(nearest and farthest metres that a network can give, where that comes from)."""
    head, _, factor = ending.partition(' times ')
    if head == 'Sigmoid' and factor and float(factor) > DEPTH_RANGE_M[0]:
        return (DEPTH_RANGE_M[0], float(factor)), f'the graph: it ends in {ending}'
    return DEPTH_RANGE_M, f'{ASSUMED} usual'


def _guessed_colours(source: Value, facts: GraphFacts) -> Sources:
    """What the graph shows of colours, and what is assumed where it shows nothing."""
    inside = facts.inside
    sources: Sources = []
    if source.type_name == 'uint8':
        bytes_ = {'range': 255, 'mean': NONE, 'std': NONE}
        sources.append(('the file: its input is bytes', bytes_))
    elif inside.mean is not None:
        numbers = ', '.join(f'{each:.4g}' for each in inside.mean)
        fields: dict[str, Any] = {'range': inside.range, 'mean': NONE, 'std': NONE}
        sources.append((f'the graph: it subtracts {numbers} itself', fields))
    elif inside.range is not None:
        why = 'it divides colours by 255 itself'
        sources.append((f'the graph: {why}', {'range': 255}))
        # A mean of colours that are divided afterwards would leave next to nothing of them.
        sources.append((f'{ASSUMED} {why}', {'mean': NONE, 'std': NONE}))
    if inside.colour:
        sources.append(
            ('the graph: the order in which it takes colours', {'colour': inside.colour})
        )
    if not inside.unclear:
        unit, mean, std, why = 1, IMAGENET_MEAN, IMAGENET_STD, 'usual, since it has none itself'
        if source.name == 'pixel_values' and facts.patch != PATCH_14:
            mean = std = (0.5,) * 3
            why = 'usual in transformers, where an input is called pixel_values'
        sources.append((f'{ASSUMED} {why}', {'range': unit, 'mean': mean, 'std': std}))
    sources.append((f'{ASSUMED} usual', {'colour': 'rgb'}))
    return sources
