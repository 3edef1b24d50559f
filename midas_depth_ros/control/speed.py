"""How fast is allowed: by the free way ahead, by closeness, and by what the drive can follow.

Plain numbers in and out. Every limit is a speed forward in m/s, at most the commanded one, and
falls as things come nearer.
"""

from __future__ import annotations

import math

from midas_depth_ros.control.options import AvoidanceOptions, ClosenessZones

# Once stopped by closeness, this share of the threshold must be reached to go on.
RESUME_CLOSENESS = 0.9
# So many reaction times: a rate in proportion to the room that is left takes effect a dead time
# later, and comes to rest without passing its mark only where it falls so slowly.
IN_FLIGHT = math.e


def zone_speed(free_m: float, command: float, options: AvoidanceOptions) -> float:
    """The speed allowed with `free_m` before the robot: 0 in the stop zone, then rising.

    By 'distance' it rises in proportion to the way into the slow zone, by 'time' such that the
    stop zone is at least `time_to_contact` away, from `min_speed` on; never so fast that braking
    would end within it.
    """
    room = free_m - options.stop_distance
    if not (room > 0 and command > 0):
        return 0.0
    if options.slow_by == 'time':
        speed = room / options.time_to_contact
    else:
        share = room / (options.slow_distance - options.stop_distance)
        speed = command * min(share, 1.0)
    speed = max(speed, options.min_speed)
    brakes_from = braking_speed(room, options)
    # What the drive cannot hold is no speed: the last millimetres before the stop zone stay free.
    if brakes_from < min(options.min_speed, command):
        return 0.0
    return min(speed, brakes_from, command)


def braking_speed(room_m: float, options: AvoidanceOptions) -> float:
    """The speed from which the robot, after its reaction time, brakes to a stop within `room_m`."""
    brake, reaction = options.stop_deceleration, options.reaction_time
    return brake * (math.sqrt(reaction**2 + 2 * max(room_m, 0.0) / brake) - reaction)


def stopping_way(speed: float, options: AvoidanceOptions) -> float:
    """How far (m) the robot goes on from `speed` until it stands, reaction time included."""
    return speed * options.reaction_time + speed**2 / (2 * options.stop_deceleration)


def turning_speed(free_rad: float, options: AvoidanceOptions) -> float:
    """The turning rate (rad/s) from which the robot comes to rest within an angle."""
    brake, reaction = options.angular_acceleration, IN_FLIGHT * options.reaction_time
    return brake * (math.sqrt(reaction**2 + 2 * max(free_rad, 0.0) / brake) - reaction)


def worst_closeness(left: float, centre: float, right: float, zones: ClosenessZones) -> float:
    """One closeness for all three, on the scale of the centre; NaN where any is unknown.

    Something at the side is in the way only when it is nearer, by stop : side_stop.
    """
    values = (left, centre, right)
    if any(math.isnan(value) or value < 0 for value in values):
        return math.nan
    return max(centre, max(left, right) * zones.stop / zones.side_stop)


def closeness_speed(
    closeness: float, command: float, options: AvoidanceOptions, resuming: bool = False
) -> float:
    """The speed allowed at a closeness: its inverse is distance, in units of the floor's edge."""
    zones = options.closeness
    stop = zones.stop * RESUME_CLOSENESS if resuming else zones.stop
    if not (closeness < stop and command > 0):
        return 0.0
    command = min(command, zones.max_speed)
    if closeness <= zones.slow:
        return command
    share = (1 / closeness - 1 / stop) / (1 / zones.slow - 1 / stop)
    return min(max(command * share, options.min_speed), command)


def follow(previous: float, target: float, rise: float, fall: float) -> float:
    """The next value on the way from `previous` to `target`, moving by at most `rise` away from
    zero and `fall` toward it. Zero is not crossed in one step.
    """
    if previous * target < 0:
        target = 0.0
    if abs(target) >= abs(previous):
        return max(min(target, previous + rise), previous - rise)
    return max(min(target, previous + fall), previous - fall)
