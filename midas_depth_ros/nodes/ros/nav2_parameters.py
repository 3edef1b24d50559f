"""Nav2's parameters for one robot and camera: the blocks of config/nav2_example.yaml, filled in.

A robot, a camera's name and a namespace come in; parameter files that Nav2 loads go out, alone or
merged into the file that a robot already has. No ROS is needed. Every name in them is one that
Nav2's sources declare.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.files import KEY, WILDCARDS, is_for
from midas_depth_ros.options.metric import ObstacleOptions, ScanOptions

Block = dict[str, Any]
MARGIN_M = 0.04  # around the robot, of the zone that keeps its distance
SIDE_M = 0.12  # at either side of it, of the zone in which it slows down
SLOWS_M, AHEAD_M = 1.0, 0.6  # how far that reaches: ahead of the lens, and of the robot, at least
# Where the floor comes into view: half the vertical angle of a narrow lens, and where nothing is
# known of the mount.
HALF_NARROW_RAD, UNKNOWN_FROM_M = 0.35, 1.2
# Nav2 measures along the beam: 0.55 rad aside it meets the first row of floor so many times as far.
ASIDE = 1.17
# How much nearer than scan.range_max, where Nav2 sees what is clear, zones and ranges end.
CLEAR_M = 0.1
NODS_M = 0.1  # how much higher than it is an obstacle may seem to Nav2, while the robot nods
INFLATION = 'nav2_costmap_2d::InflationLayer'
# Those of a costmap without `plugins`, see Nav2's costmap_2d_ros.cpp.
DEFAULT_LAYERS = {
    'static_layer': 'nav2_costmap_2d::StaticLayer',
    'obstacle_layer': 'nav2_costmap_2d::ObstacleLayer',
    'inflation_layer': INFLATION,
}
LAYER, CLOUD = 'scan_layer', 'cloud_layer'  # of the template
PREFIX = 'camera_'  # of what is added to a file that has zones, sources and layers already
# Where this package's node is a lifecycle node's manager's only node, see the template.
MANAGER = 'lifecycle_manager_depth'
LAYOUT = "lay it out as nav2_bringup's nav2_params.yaml"
FRESH = 'merge into the file that the robot came with'
MONITOR, COSTMAP = 'collision_monitor', 'local_costmap/local_costmap'
# The lists of a node that are added to.
LISTS = {MONITOR: ('polygons', 'observation_sources'), COSTMAP: ('plugins',)}


class InvalidNav2Parameters(ValueError):
    """A value or a file that cannot become parameters of Nav2."""


@dataclasses.dataclass(frozen=True)
class Robot:
    """What differs from robot to robot. Raises `InvalidNav2Parameters`.

    base_frame: on the floor, x ahead. camera_x, camera_y: of the lens in it, metres ahead and to
    the left; camera_height, camera_pitch: as of depth_node, NaN where nobody has measured them.
    floor_from: metres ahead of the lens where the floor comes into view: nothing nearer is cleared;
    NaN = by height and pitch, see `clears_from`.
    stamped: '' leaves TwistStamped or Twist to Nav2's default.
    """

    image_topic: str = ''
    camera_info_topic: str = ''
    base_frame: str = DepthNodeSettings.body_frame
    odom_frame: str = 'odom'
    robot_radius: float = 0.18
    camera_height: float = math.nan
    camera_pitch: float = math.nan
    camera_x: float = 0.0
    camera_y: float = 0.0
    floor_from: float = math.nan
    stamped: str = ''

    def __post_init__(self) -> None:
        for name, low, high in (('robot_radius', 0.02, 5.0), ('floor_from', 0.0, 5.0)):
            value = getattr(self, name)
            unknown = name == 'floor_from' and math.isnan(value)
            if not (unknown or low <= value <= high):
                raise InvalidNav2Parameters(f'{name} is {value}: it must be {low} to {high} m')
        for name in ('camera_x', 'camera_y'):
            if not abs(getattr(self, name)) <= 5.0:
                raise InvalidNav2Parameters(
                    f'{name} is {getattr(self, name)}: it must be -5.0 to 5.0 m'
                )
        if abs(self.camera_y) >= self.robot_radius:
            # proximity is shown to Nav2 straight ahead of the lens: it would pass by the zones.
            raise InvalidNav2Parameters(
                f'camera_y is {self.camera_y}: the lens must be above the robot, whose '
                f'robot_radius is {self.robot_radius} m'
            )
        for name in ('base_frame', 'odom_frame'):
            if not getattr(self, name):
                raise InvalidNav2Parameters(f'{name} is empty: name a frame of your TF')
        if self.stamped not in ('', 'true', 'false'):
            raise InvalidNav2Parameters(
                f'stamped is {self.stamped}: it must be true, false or empty'
            )

    @property
    def aside(self) -> bool:
        """Whether the lens is not above the origin of the base frame."""
        return bool(self.camera_x or self.camera_y)

    @property
    def clears_from(self) -> float:
        """From where on the costmap is cleared, metres ahead of the lens: floor that is in view.

        Where nobody has said it, as through a narrow lens of this height and pitch, since a low
        thing that has left the picture must not be forgotten; far off where these are unknown,
        and no nearer than for a level camera where only the pitch is.
        """
        if not math.isnan(self.floor_from):
            return self.floor_from
        if math.isnan(self.camera_height):
            return UNKNOWN_FROM_M
        unknown = math.isnan(self.camera_pitch)
        down_rad = max((0.0 if unknown else self.camera_pitch) + HALF_NARROW_RAD, 0.1)
        begins_m = round(min(self.camera_height / math.tan(min(down_rad, 1.5)), 5.0), 2)
        return max(begins_m, UNKNOWN_FROM_M) if unknown else begins_m


# Topics, frames and mounts as their makers publish them: the ROBOTIS package turtlebot3_description
# (waffle_pi, whose base_footprint is on the floor) and turtlebot4_description (standard, whose
# base_link is); the radius is that of the farthest corner. Both want TwistStamped from Jazzy on.
ROBOTS = {
    'custom': Robot(),
    'turtlebot3': Robot(
        image_topic='camera/image_raw',
        camera_info_topic='camera/camera_info',
        base_frame='base_footprint',
        robot_radius=0.24,
        camera_height=0.103,
        camera_pitch=0.0,
        camera_x=0.076,
        floor_from=0.3,
        stamped='true',
    ),
    'turtlebot4': Robot(
        image_topic='oakd/rgb/preview/image_raw',
        camera_info_topic='oakd/rgb/preview/camera_info',
        robot_radius=0.19,
        camera_height=0.244,
        camera_pitch=0.0,
        camera_x=-0.06,
        floor_from=0.65,
        stamped='true',
    ),
}


def check_distribution(name: str) -> None:
    """Raise `InvalidNav2Parameters` on a ROS distribution whose collision monitor is not served.

    Humble's takes polygons as lists of numbers and ignores silence, as of a camera that is blind.
    """
    if name == 'humble':
        raise InvalidNav2Parameters(
            "ROS_DISTRO is humble, whose collision monitor drives on when the camera's metres are "
            'missing: use midas_depth.launch.py with avoidance:=true, or Jazzy or newer'
        )


def nav2_blocks(
    template: Block,
    robot: Robot,
    camera: str,
    namespace: str = '',
    range_max_m: float = ScanOptions.range_max,
    max_height_m: float = ObstacleOptions.max_height,
) -> Block:
    """Return the template's blocks for a robot: by the names of the nodes that they are for.

    template: config/nav2_example.yaml. camera: the name of depth_node's camera. range_max_m: of its
    scan. max_height_m: of its obstacles.
    """
    blocks = copy.deepcopy(template)
    ends_m = round(max(range_max_m - CLEAR_M, 0.0), 2)
    _fill_monitor(blocks['collision_monitor']['ros__parameters'], robot, camera, ends_m)
    prefix = '/'.join(['', *filter(None, [namespace.strip('/'), camera])])
    costmap = blocks['local_costmap']['local_costmap']['ros__parameters']
    _fill_costmap(costmap, robot, prefix, ends_m)
    # What counts as an obstacle in the scan must not be too high for the costmap.
    layer, highest_m = costmap[LAYER], round(max_height_m + NODS_M, 2)
    layer['max_obstacle_height'] = layer['obstacles']['max_obstacle_height'] = highest_m
    return blocks


def _fill_monitor(monitor: Block, robot: Robot, camera: str, ends_m: float) -> None:
    """ends_m: no zone may reach as far ahead of the lens as what is clear is shown."""
    monitor['base_frame_id'], monitor['odom_frame_id'] = robot.base_frame, robot.odom_frame
    if robot.stamped:
        monitor['enable_stamped_cmd_vel'] = robot.stamped == 'true'
    front = max(SLOWS_M + max(robot.camera_x, 0.0), robot.robot_radius + AHEAD_M)
    front = round(min(front, ends_m + robot.camera_x), 2)
    side = round(robot.robot_radius + SIDE_M, 2)
    corners = [[front, side], [front, -side], [0.0, -side], [0.0, side]]
    monitor['slow']['points'] = str(corners)
    monitor['approach']['radius'] = round(robot.robot_radius + MARGIN_M, 2)
    for name in monitor['observation_sources']:
        monitor[name]['topic'] = f'{camera}/{name}'


def _fill_costmap(costmap: Block, robot: Robot, prefix: str, ends_m: float) -> None:
    """prefix: of the camera's topics, absolute: Nav2 before Kilted has relative ones elsewhere.

    ends_m: of all ranges, or what is clear would be a wall.
    """
    costmap['global_frame'], costmap['robot_base_frame'] = robot.odom_frame, robot.base_frame
    costmap['robot_radius'] = robot.robot_radius
    # The layer of voxels costs far more than it adds to the points of the obstacles.
    del costmap[CLOUD]
    costmap['plugins'] = [name for name in costmap['plugins'] if name != CLOUD]
    layer = costmap[LAYER]
    for name in layer['observation_sources'].split():
        source = layer[name]
        source['topic'] = f'{prefix}/{source["topic"].rpartition("/")[2]}'
        if 'raytrace_min_range' in source:
            source['raytrace_min_range'] = round(ASIDE * robot.clears_from, 2)
        for key in ('obstacle_max_range', 'raytrace_max_range'):
            if key in source:
                source[key] = min(source[key], ends_m)


def merged(base: Block, blocks: Block, namespace: str = '') -> Block:
    """Return the parameters of a robot with this camera's zones, sources and layer added to them.

    base: as of nav2_bringup. What it has stays: a lidar remains a source. namespace: of the robot's
    Nav2. Raises `InvalidNav2Parameters` where it is not laid out as a parameter file, or where it
    is unclear which section is for which node.
    """
    result = copy.deepcopy(base)
    sections = list(_sections(result))
    found = {node: _section_of(sections, node, namespace) for node in LISTS}
    prefix = _prefix([each for each in found.values() if each], sections, namespace)
    for node in LISTS:
        ours = _own(blocks, node)
        section = found[node]
        if section and node == MONITOR:
            _add_to_monitor(_parameters(section), ours)
            continue
        if section:
            _add_to_costmap(_parameters(section), ours, _shared_with(sections, node, namespace))
            continue
        tree, keys = result, [f'{prefix}/{node}'] if prefix else node.split('/')
        for key in keys:
            tree = tree.setdefault(key, {})
        tree[KEY] = copy.deepcopy(ours)
    return result


def _own(blocks: Block, node: str) -> Any:
    for key in node.split('/'):
        blocks = blocks[key]
    return blocks[KEY]


# --- The sections of a parameter file: by the full name of a node, in one key or nested by
# namespace, with or without the leading '/'; '*' stands for one name, '**' for any number.


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a parameter file. name: with a leading '/'. content: as it is in the file."""

    name: str
    content: Block


def _sections(tree: Block, parts: tuple[str, ...] = ()) -> Iterator[Section]:
    """Every section, and every namespace. Raises `InvalidNav2Parameters`."""
    for key, content in tree.items():
        names = (*parts, *filter(None, str(key).split('/')))
        name = '/'.join(names)
        if not isinstance(content, dict):
            raise InvalidNav2Parameters(f'{name} is {content!r}: it has no {KEY}; {LAYOUT}')
        if any('*' in each and each not in WILDCARDS for each in names):
            raise InvalidNav2Parameters(
                f'{name} has a * in a name: it stands for a whole name, ** for any number of them'
            )
        yield Section(f'/{name}', content)
        yield from _sections({k: v for k, v in content.items() if k != KEY}, names)


def _section_of(sections: Sequence[Section], node: str, namespace: str) -> Section | None:
    """The section that is for a node; None where the file has none.

    Without its namespace in front it is for the node, too: nav2_bringup puts it there.
    """
    full_names = _full_names(node, namespace)
    last = node.rpartition('/')[2]
    ours, others = [], []
    for each in sections:
        applies = any(is_for(each.name, name) for name in full_names)
        final = each.name.rpartition('/')[2]
        if final in WILDCARDS and applies:
            _check_shared(each, node)
        elif final == last and applies and not _is_namespace(each):
            ours.append(each)
        elif final == last and KEY in each.content:
            others.append(each.name)
    if len(ours) > 1:
        raise InvalidNav2Parameters(
            f'{ours[0].name} and {ours[1].name} are both for {node}: put them into one section'
        )
    if others and not ours:
        space = others[0].removesuffix(f'/{node}').strip('/')
        whole = others[0].endswith(f'/{node}') and '*' not in space
        remedy = f'give namespace:={space}, or ' if whole else ''
        space_given = f' with namespace:={namespace}' if namespace else ''
        raise InvalidNav2Parameters(
            f'{others[0]} is not for /{node}{space_given}: {remedy}name the section {node}'
        )
    return ours[0] if ours else None


def _full_names(node: str, namespace: str) -> set[str]:
    return {'/'.join(['', *filter(None, [namespace.strip('/')]), node]), f'/{node}'}


def _shared_with(sections: Sequence[Section], node: str, namespace: str) -> list[Block]:
    """The parameters of sections for several nodes, this one among them."""
    return [
        each.content[KEY] or {}
        for each in sections
        if each.name.rpartition('/')[2] in WILDCARDS
        and KEY in each.content
        and any(is_for(each.name, name) for name in _full_names(node, namespace))
    ]


def _is_namespace(section: Section) -> bool:
    """Whether it has no parameters, only sections."""
    return KEY not in section.content and bool(section.content)


def _check_shared(section: Section, node: str) -> None:
    """A list that is set for several nodes would be lost for the one that gets its own."""
    shared = [key for key in LISTS[node] if key in (section.content.get(KEY) or {})]
    if shared:
        raise InvalidNav2Parameters(
            f'{section.name} has {shared[0]}, which {node} reads, too: have it in the section '
            f'{node} alone, since of two the one that comes later in the file counts'
        )


def _prefix(found: Sequence[Section], sections: Sequence[Section], namespace: str) -> str:
    """What the names of new sections begin with, so that they are read where those there are."""
    for each in found:
        for node in LISTS:
            if each.name.endswith(f'/{node}'):
                return each.name.removesuffix(f'/{node}')
        return '/**'  # '/**/local_costmap' is for the node in the namespace of its name
    spaces = [f'/{namespace.strip("/")}', '/**'] if namespace.strip('/') else ['/**']
    begun = [space for space in spaces if any(s.name.startswith(f'{space}/') for s in sections)]
    return begun[0] if begun else ''


def _parameters(section: Section) -> Block:
    found = section.content.get(KEY)
    if not isinstance(found, dict):
        raise InvalidNav2Parameters(
            f'{section.name[1:]} is {section.content!r}: it has no {KEY}; {LAYOUT}'
        )
    return found


def _add_to_monitor(theirs: Block, ours: Block) -> None:
    for key in ('polygons', 'observation_sources'):
        present = theirs.get(key) or []
        if not isinstance(present, list):
            raise InvalidNav2Parameters(
                f'{key} of collision_monitor is {present!r}: write it as a list, such as '
                f"['{ours[key][0]}']"
            )
        theirs[key] = present + [PREFIX + name for name in ours[key]]
        for name in ours[key]:
            if PREFIX + name in theirs:
                raise InvalidNav2Parameters(
                    f'collision_monitor already has {PREFIX + name}: {FRESH}'
                )
            theirs[PREFIX + name] = copy.deepcopy(ours[name])
    for name in ours['polygons']:
        theirs[PREFIX + name]['polygon_pub_topic'] = f'polygon_{PREFIX}{name}'
    # Of our sources alone: a lidar may be slower. Silence must stop the robot.
    for name in ours['observation_sources']:
        theirs[PREFIX + name]['source_timeout'] = ours['source_timeout']


def _add_to_costmap(theirs: Block, ours: Block, shared: Sequence[Block] = ()) -> None:
    """Add our layer before the inflation, which is computed of the layers before it.

    shared: further parameters of theirs, of sections for several nodes.
    """
    name = PREFIX + LAYER
    plugins = theirs.get('plugins')
    if plugins is None:
        plugins = list(DEFAULT_LAYERS)
    if not isinstance(plugins, list):
        raise InvalidNav2Parameters(
            f"plugins of local_costmap is {plugins!r}: write a list, such as ['{name}']"
        )
    if name in plugins:
        raise InvalidNav2Parameters(f'local_costmap already has {name}: {FRESH}')
    if plugins == list(DEFAULT_LAYERS):
        _write_default_types(theirs, shared)
    types = [_type_of((theirs, *shared), each) for each in plugins]
    inflations = [index for index, kind in enumerate(types) if kind == INFLATION]
    at = inflations[0] if inflations else len(plugins)
    theirs['plugins'] = [*plugins[:at], name, *plugins[at:]]
    theirs[name] = copy.deepcopy(ours[LAYER])


def _type_of(blocks: Sequence[Block], layer: str) -> Any:
    """The type of a layer, nested or by a dotted name; None where it is not written."""
    for each in blocks:
        block = each.get(layer)
        nested = block.get('plugin') if isinstance(block, dict) else None
        if kind := nested or each.get(f'{layer}.plugin'):
            return kind
    return None


def _write_default_types(costmap: Block, shared: Sequence[Block]) -> None:
    """Nav2 knows the types of its default layers only while the list is its default."""
    for layer, kind in DEFAULT_LAYERS.items():
        if _type_of((costmap, *shared), layer):
            continue
        block = costmap.get(layer) or {}
        if not isinstance(block, dict):
            raise InvalidNav2Parameters(
                f"{layer} of local_costmap is {block!r}: write its parameters, plugin: '{kind}'"
            )
        costmap[layer] = {'plugin': kind, **block}


def read_blocks(path: Path) -> Block:
    """Read a parameter file. Raises `InvalidNav2Parameters` and OSError."""
    try:
        found = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidNav2Parameters(f'{path} is not YAML: {error}') from error
    if not isinstance(found, dict):
        raise InvalidNav2Parameters(f'{path} has no parameters: {LAYOUT}')
    return found


def for_any_namespace(blocks: Block) -> dict[str, Block]:
    """Return what to write to a file for each node, valid in every namespace."""
    costmap = blocks['local_costmap']['local_costmap']
    return {
        MANAGER: {f'/**/{MANAGER}': blocks[MANAGER]},
        'collision_monitor': {'/**/collision_monitor': blocks['collision_monitor']},
        'local_costmap': {'/**/local_costmap': costmap},
    }


def write_blocks(path: Path, blocks: Block, comment: str) -> None:
    """Write a parameter file. Raises OSError."""
    text = yaml.safe_dump(blocks, sort_keys=False, default_flow_style=None, width=100)
    path.write_text(f'# {comment}\n{text}', encoding='utf-8')
