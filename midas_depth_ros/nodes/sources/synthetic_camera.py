"""synthetic_camera: a simulated camera in a rendered scene, for trials without hardware.

In the moving scene the picture depends on its stamp alone: two cameras with the same parameters see
the same, and depth can be compared with the scene's own. In the scene `robot` it is the camera of a
robot that cmd_vel drives. It renders only while it has subscribers.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image, LaserScan
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.images import NANOSECONDS
from midas_depth_ros.images.sources import Frame
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import (
    camera_info_message,
    serialised_image,
    status_message,
    time_message,
)
from midas_depth_ros.nodes.ros.parameters import ParameterServer, printed_help
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.nodes.sources.camera_topics import CameraTopics
from midas_depth_ros.options.stream import RobotSettings, SyntheticCameraSettings
from midas_depth_ros.sim import WORLDS, DrivenRobot, DriveOutcome, Motion, moving_scene, render
from midas_depth_ros.sim.robot.odometry import Odometry as WheelOdometry
from midas_depth_ros.sim.robot.plain_world import PathOdometry
from midas_depth_ros.sim.robot.robot import Disturbance, noisy, packed, robot_of

DIAGNOSTICS_PERIOD_S = 0.25
MOST_BACK_S, MOST_AHEAD_S = 1.0, 60.0  # a larger step means that the clock was set
UNSTAMPED = {qos.type_name(TwistStamped): 'publish Twist; avoidance_node does with stamped false'}
SCAN_RANGE_M = (0.02, 30.0)


class RobotView:
    """The robot of the scene `robot`: cmd_vel in; odometry, ground truth and pictures out.

    It drives in real time. `~/reset` puts it at the start of the world of the parameter `seed`.
    """

    def __init__(
        self,
        node: Node,
        server: ParameterServer[SyntheticCameraSettings],
        camera: CameraModel,
    ) -> None:
        self._node, self._server, self._camera = node, server, camera
        settings = server.current
        self._clock = node.get_clock()
        self._publish_clock = settings.publish_clock
        if self._publish_clock:
            self._clock = Clock(clock_type=ClockType.STEADY_TIME)
            self._clock_publisher = qos.make_publisher(node, ClockMessage, '/clock')
        self._started_ns = self._clock.now().nanoseconds
        name = settings.camera
        self._depth = qos.make_publisher(
            node, Image, f'{name}/simulated/relative_inverse_depth/image'
        )
        self._scan = qos.make_publisher(node, LaserScan, 'ground_truth/scan')
        self._odometry = qos.make_publisher(node, Odometry, 'odom')
        self._truth = qos.make_publisher(node, Odometry, 'ground_truth/odom')
        self._diagnostics = qos.make_publisher(node, DiagnosticArray, '/diagnostics')
        self._commands = qos.make_subscription(
            node, Twist, 'cmd_vel', self._on_command, QoSProfile(depth=1)
        )
        node.get_logger().info(f'driven by {qos.topic_words(self._commands)}')
        self._unheard: list[str] = []  # why publishers on cmd_vel are incompatible
        node.create_service(Trigger, '~/reset', self._on_reset)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(1.0 / settings.robot.odometry_rate, self._on_tick, clock=steady)
        node.create_timer(DIAGNOSTICS_PERIOD_S, self._on_diagnostics, clock=steady)
        self._disturbance = Disturbance(settings.seed, settings.robot)
        self._noise = np.random.default_rng(settings.seed)
        self._drives = 0
        self._begin(settings)

    @property
    def wanted(self) -> bool:
        """Whether a topic that is published with each picture has a subscriber."""
        return any(each.get_subscription_count() for each in (self._depth, self._scan))

    def now_ns(self) -> int:
        """The time for stamps: the node's, or the simulated one that this node publishes."""
        now = int(self._clock.now().nanoseconds)
        # Simulated time begins at 1 s, since 0 means unknown.
        return now - self._started_ns + NANOSECONDS if self._publish_clock else now

    def picture(self, time_ns: int, header: Header) -> np.ndarray:
        """The picture at a stamp, (H, W, 3) uint8 RGB; publishes ground truth scan and depth."""
        settings = self._server.current
        motion = self._advance(time_ns)
        pose = motion.camera_pose(self._robot.model)
        rendering = self._robot.world.render(self._camera, pose)
        if self._scan.get_subscription_count():
            self._scan.publish(self._scan_message(header))
        packs = settings.robot.pictures == 'packed_depth'
        if packs or self._depth.get_subscription_count():
            relative = self._disturbance.relative_inverse_depth(rendering.depth_z)
            self._depth.publish(serialised_image(relative, header))
            if packs:
                return packed(relative)
        return noisy(rendering.rgb, settings.robot.picture_noise, self._noise)

    def _begin(self, settings: SyntheticCameraSettings) -> None:
        """Put the robot at the start of the world of the parameter `seed`."""
        self._seed = settings.seed
        self._epoch_ns = self.now_ns()
        world = WORLDS[settings.robot.world](settings.seed)
        self._robot = DrivenRobot(world, robot_of(settings), wheels=settings.robot)
        self._drives += 1

    def _advance(self, time_ns: int) -> Motion:
        if self._server.current.seed != self._seed:
            self._begin(self._server.current)
        jump_s = (time_ns - self._epoch_ns) / NANOSECONDS - self._robot.motion.time_s
        if not -MOST_BACK_S <= jump_s <= MOST_AHEAD_S:
            # The clock was set: continue from here.
            self._epoch_ns += round(jump_s * NANOSECONDS)
        return self._robot.advance((time_ns - self._epoch_ns) / NANOSECONDS)

    def _on_command(self, message: Twist) -> None:
        now_ns = self.now_ns()
        self._advance(now_ns)
        time_s = (now_ns - self._epoch_ns) / NANOSECONDS
        self._robot.command(time_s, message.linear.x, message.angular.z)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._begin(self._server.current)
        response.success = True
        response.message = f'drive {self._drives}: world {self._seed}'
        return response

    def _on_tick(self) -> None:
        time_ns = self.now_ns()
        if self._publish_clock:
            self._clock_publisher.publish(ClockMessage(clock=time_message(time_ns)))
        motion, robot = self._advance(time_ns), self._server.current.robot
        self._odometry.publish(odometry_message(time_ns, self._robot.odometry, robot))
        if self._truth.get_subscription_count():
            self._truth.publish(motion_message(time_ns, motion, robot))

    def _scan_message(self, header: Header) -> LaserScan:
        beams = self._server.current.robot.scan_beams
        angles = -math.pi + math.tau * np.arange(beams) / beams
        message = LaserScan(angle_min=-math.pi, angle_increment=math.tau / beams)
        message.angle_max = float(angles[-1])
        message.header.stamp = header.stamp
        message.header.frame_id = self._server.current.robot.base_frame
        message.range_min, message.range_max = SCAN_RANGE_M
        message.ranges = self._robot.scan(angles).astype(np.float32).tolist()
        return message

    def _on_diagnostics(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = time_message(self.now_ns())
        unheard = qos.publishers_of(self._node, self._commands, UNSTAMPED)[1]
        for reason in set(unheard) - set(self._unheard):
            self._node.get_logger().warning(f'{self._commands.topic_name} not heard: {reason}')
        self._unheard = unheard
        message.status = [drive_status(self._drives, self._seed, self._robot.outcome, unheard)]
        self._diagnostics.publish(message)


class PathOdometryTopic:
    """odom of the moving scene: of wheels that drive along its path, below the camera."""

    def __init__(self, node: Node, server: ParameterServer[SyntheticCameraSettings]) -> None:
        self._node, self._server = node, server
        self._publisher = qos.make_publisher(node, Odometry, 'odom')
        self._path: PathOdometry | None = None
        node.create_timer(1.0 / server.current.robot.odometry_rate, self._on_timer)

    def _on_timer(self) -> None:
        settings, time_ns = self._server.current, self._node.get_clock().now().nanoseconds
        scene = moving_scene(settings.seed)
        period_ns = round(scene.period_s * NANOSECONDS)
        if self._path is None or self._path.scene is not scene or not self._path.follows(time_ns):
            # A whole period before now: seconds since then keep the precision of nanoseconds.
            epoch_ns = time_ns // period_ns * period_ns
            self._path = PathOdometry(scene, epoch_ns, time_ns, settings.robot)
        wheels = self._path.advance(time_ns)
        self._publisher.publish(odometry_message(time_ns, wheels, settings.robot))


def odometry_message(time_ns: int, wheels: WheelOdometry, robot: RobotSettings) -> Odometry:
    """What the wheels report, with how far a driver of such wheels can believe it."""
    message = motion_message(time_ns, wheels.reported, robot)
    message.pose.covariance = wheels.pose_covariance
    message.twist.covariance = wheels.twist_covariance
    return message


def motion_message(time_ns: int, motion: Motion, robot: RobotSettings) -> Odometry:
    """Pose in the world's own coordinates, twist in the robot's frame (REP 105)."""
    message = Odometry(child_frame_id=robot.base_frame)
    message.header = Header(stamp=time_message(time_ns), frame_id=robot.odometry_frame)
    pose, twist = message.pose.pose, message.twist.twist
    pose.position.x, pose.position.y = motion.x_m, motion.y_m
    pose.orientation.z = math.sin(0.5 * motion.yaw_rad)
    pose.orientation.w = math.cos(0.5 * motion.yaw_rad)
    twist.linear.x, twist.angular.z = motion.speed_m_s, motion.turn_rad_s
    return message


def drive_status(
    drive: int, seed: int, outcome: DriveOutcome, unheard: Sequence[str] = ()
) -> DiagnosticStatus:
    """The outcome of a drive; WARN after a collision or a fall, or with publishers `unheard`."""
    hurt = outcome.collisions or outcome.falls
    level = DiagnosticStatus.WARN if hurt or unheard else DiagnosticStatus.OK
    falls = f' and {outcome.falls} falls' if outcome.falls else ''
    text = f'world {seed}: {outcome.collisions} collisions{falls} in {outcome.distance_m:.1f} m'
    text = '; '.join([text, *(f'cmd_vel not heard: {reason}' for reason in unheard)])
    values = {'drive': drive, 'world': seed, **dataclasses.asdict(outcome)}
    return status_message('synthetic_camera: drive', level, text, values)


def picture_at(time_ns: int, settings: SyntheticCameraSettings) -> NDArray[np.uint8]:
    """What the camera sees at a stamp: (height, width, 3) uint8 RGB."""
    scene = moving_scene(settings.seed)
    # The remainder first: nanoseconds since 1970 exceed the precision of a float.
    time_s = time_ns % round(scene.period_s * NANOSECONDS) / NANOSECONDS
    pose = dataclasses.replace(
        scene.pose_at(time_s), z_m=settings.camera_height, pitch_rad=settings.camera_pitch
    )
    return render(scene.scene_at(time_s), camera_model(settings), pose).rgb


def camera_model(settings: SyntheticCameraSettings) -> CameraModel:
    """The camera that the parameters describe."""
    return CameraModel.from_field_of_view(settings.width, settings.height, settings.horizontal_fov)


class SyntheticCamera(Node):
    """The ROS shell around the renderer."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__('synthetic_camera', **node_options)
        try:
            self._parameter_server = ParameterServer(self, SyntheticCameraSettings)
        except ValueError:
            self.destroy_node()
            raise
        settings = self._parameter_server.current
        self._topics = CameraTopics(self, settings.camera, settings.transport, True)
        self._robot: RobotView | None = None
        timer_clock = None  # the node's own
        if settings.scene == 'robot':
            self._robot = RobotView(self, self._parameter_server, camera_model(settings))
            timer_clock = Clock(clock_type=ClockType.STEADY_TIME)
        else:
            self._path = PathOdometryTopic(self, self._parameter_server)
        self._parameter_server.warn_of_unused_qos()
        self.create_timer(1.0 / settings.rate, self._on_timer, clock=timer_clock)
        self.get_logger().info(f'{settings.scene} scene {settings.seed} -> {self._topics.names}')

    def _on_timer(self) -> None:
        # Read once: subscribers may come and go meanwhile.
        shown = bool(self._topics.subscribers)
        if not (shown or self._topics.wanted() or (self._robot and self._robot.wanted)):
            return
        settings = self._parameter_server.current
        now_ns = self._robot.now_ns() if self._robot else self.get_clock().now().nanoseconds
        header = Header(stamp=time_message(now_ns), frame_id=settings.optical_frame)
        self._topics.publish_info(camera_info_message(camera_model(settings)), header)
        if not (shown or self._robot):
            return
        seen = self._robot.picture(now_ns, header) if self._robot else picture_at(now_ns, settings)
        if shown:
            frame = Frame('rendered', picture=seen)
            self._topics.publish_frame(frame, header, settings.jpeg_quality)


def main() -> int:
    """Run the node; returns the exit code."""
    if printed_help('synthetic_camera', SyntheticCameraSettings, __doc__):
        return 0
    return run_node(SyntheticCamera)


if __name__ == '__main__':
    sys.exit(main())
