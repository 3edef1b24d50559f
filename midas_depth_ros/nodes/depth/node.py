"""depth_node: camera images in; relative inverse depth, heatmap and closeness out.

With a scale also metric depth, scan, proximity, nearest point and cloud.

A lifecycle node: configure loads the model, activate subscribes and starts the one inference
thread, deactivate stops it, cleanup frees the model. With `autostart` (default) it activates
itself. `~/enable` (std_srvs/SetBool) pauses and resumes while active.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool

from midas_depth_ros.depth import DepthError, DepthEstimator, load_estimator
from midas_depth_ros.nodes.depth.calibration import CalibrationService
from midas_depth_ros.nodes.depth.camera_input import FrameExchange
from midas_depth_ros.nodes.depth.distance_calibration import DistanceCalibrationService
from midas_depth_ros.nodes.depth.frame_scale import check_source
from midas_depth_ros.nodes.depth.metric_sources import mount_of, shared_frame
from midas_depth_ros.nodes.depth.odometry_input import OdometryInput
from midas_depth_ros.nodes.depth.reporting import Reporting
from midas_depth_ros.nodes.depth.status import ModelReport
from midas_depth_ros.nodes.depth.worker import (
    Camera,
    Worker,
    keep_freed_memory,
    release_free_memory,
    release_mapped_files,
)
from midas_depth_ros.nodes.ros.boundary import refused_words
from midas_depth_ros.nodes.ros.parameters import ParameterServer, printed_help
from midas_depth_ros.nodes.ros.spinning import forward_logging, run_node
from midas_depth_ros.nodes.ros.transforms import TfMount
from midas_depth_ros.options.declarations import MOST_LISTED
from midas_depth_ros.options.depth import (
    DepthNodeSettings,
    apply_cpu_budget,
    bound_opencv_threads,
    parse_cpus,
    threads_for,
)
from midas_depth_ros.options.text import printable

OPENVINO_WEIGHTS = '.bin'
REPLAY_QUEUE = 10  # frames that may wait when every frame is processed

TRANSITIONS = {
    Transition.TRANSITION_CONFIGURE: 'configure',
    Transition.TRANSITION_CLEANUP: 'cleanup',
    Transition.TRANSITION_ACTIVATE: 'activate',
    Transition.TRANSITION_DEACTIVATE: 'deactivate',
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: 'shutdown of an unconfigured node',
    Transition.TRANSITION_INACTIVE_SHUTDOWN: 'shutdown of an inactive node',
    Transition.TRANSITION_ACTIVE_SHUTDOWN: 'shutdown of an active node',
}

EstimatorFactory = Callable[[DepthNodeSettings], DepthEstimator]
OnTransition = Callable[[Any, LifecycleState], TransitionCallbackReturn]
SUCCESS = TransitionCallbackReturn.SUCCESS


def estimator_from(settings: DepthNodeSettings) -> DepthEstimator:
    """Load the estimator that the parameters select."""
    return load_estimator(
        settings.model,
        settings.backend,
        threads_for(settings.num_threads, parse_cpus(settings.cpu_affinity)),
        precision=settings.precision,
        allow_download=settings.allow_download,
        accept_licence=settings.accept_licence,
        model_file=settings.model_file.given(),
        network_size=settings.network_size,
        network_aspect=settings.network_aspect,
        for_robot=True,
    )


def _logged(what: str) -> Callable[[OnTransition], OnTransition]:
    """Log what a transition raises: rclpy turns it into an error transition without a word."""

    def wrapped(transition: OnTransition) -> OnTransition:
        @functools.wraps(transition)
        def logged(node: DepthNode, state: LifecycleState) -> TransitionCallbackReturn:
            try:
                return transition(node, state)
            except Exception:
                node.get_logger().error(f'cannot {what}:\n{traceback.format_exc()}')
                raise

        return logged

    return wrapped


class DepthNode(LifecycleNode):
    """The ROS shell around an estimator, which comes from the factory `make_estimator`."""

    def __init__(
        self, make_estimator: EstimatorFactory = estimator_from, **node_options: Any
    ) -> None:
        super().__init__('depth_node', **node_options)
        # Before the parameters: if they are invalid, destroy_node needs these.
        self._estimator: DepthEstimator | None = None
        self.cameras: dict[str, Camera] = {}
        self._tf: TfMount | None = None
        self._odometry: OdometryInput | None = None
        self._worker: Worker | None = None
        self.hangs = False  # the worker did not stop in time, see run_node
        self._phase = 'unconfigured'
        self.interruptible = False  # a signal may interrupt the running callback, see run_node
        forward_logging(self)
        self._refuse_impossible_transitions()
        self._make_estimator = make_estimator
        self._parameter_server = ParameterServer(self, DepthNodeSettings, self._why_fixed)
        # A steady clock: these must also work while a simulated clock stands still.
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._reporting = Reporting(self, self._steady_clock)
        self._enable = self.create_service(SetBool, '~/enable', self._on_enable)
        self._calibration = CalibrationService(self, self._steady_clock)
        self._distances = DistanceCalibrationService(self, self._steady_clock)
        if self.settings.autostart:
            start = self._autostart
            self._autostart_timer = self.create_timer(0.0, start, clock=self._steady_clock)

    @property
    def settings(self) -> DepthNodeSettings:
        """The parameters as they are now."""
        return self._parameter_server.current

    @_logged('configure')
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and make the publishers."""
        self._phase = 'configuring'
        self._reporting.publish()  # loading may take long: report it first
        self.interruptible = True
        try:
            self._parameter_server.declare_groups()
            self._configure(self.settings)
        except (DepthError, ValueError) as error:
            self.get_logger().error(f'cannot configure with model {self.settings.model!r}: {error}')
            self._free()
            return TransitionCallbackReturn.FAILURE
        finally:
            self.interruptible = False
        self._phase = 'inactive'
        return SUCCESS

    def _configure(self, settings: DepthNodeSettings) -> None:
        started = time.monotonic()
        self._reporting.set_rate(settings.diagnostics_rate)
        apply_cpu_budget(settings.niceness, parse_cpus(settings.cpu_affinity))
        self.get_logger().info(f'loading model {settings.model!r}')
        self._estimator = estimator = self._make_estimator(settings)
        check_source(settings, estimator)
        threads = threads_for(settings.num_threads, parse_cpus(settings.cpu_affinity))
        bound_opencv_threads(estimator.backend, threads)
        release_free_memory()
        release_mapped_files(OPENVINO_WEIGHTS)
        self._tf = TfMount(self) if settings.mount_from_tf else None
        self._odometry = OdometryInput(self, self._tf)
        for name in settings.cameras:
            self.cameras[name] = Camera(
                self, name, estimator, self._tf, settings.transport, self._odometry
            )
            shared = '' if self._tf is not None else shared_frame(settings, name)
            if shared and not math.isnan(mount_of(settings, name).camera_height):
                self.get_logger().warning(f'{name}: no metres: {shared}')
        self.get_logger().info(
            f'model {estimator.model} on {estimator.backend} in {estimator.precision}, '
            f'loaded in {time.monotonic() - started:.1f} s'
        )
        if estimator.choice:
            self.get_logger().info(estimator.choice)
        if estimator.notice:
            self.get_logger().warning(estimator.notice)
        for camera in self.cameras.values():
            if camera.metric.scale.advice:
                self.get_logger().warning(f'{camera.name}: {camera.metric.scale.advice}')

    @_logged('activate')
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the worker."""
        try:
            self._start()
        except ValueError as error:
            self.get_logger().error(f'cannot activate: {error}')
            return TransitionCallbackReturn.FAILURE
        self._phase = 'active'
        return super().on_activate(state)

    @_logged('deactivate')
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop the worker; FAILURE while a frame hangs in the model."""
        if not self._stop():
            return TransitionCallbackReturn.FAILURE
        self._phase = 'inactive'
        return super().on_deactivate(state)

    @_logged('clean up')
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and the publishers."""
        self._free()
        return SUCCESS

    @_logged('shut down')
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, in any state."""
        stopped = self._stop()
        self._free()
        return SUCCESS if stopped else TransitionCallbackReturn.FAILURE

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Fall back to unconfigured, with nothing left running."""
        return self.on_shutdown(state)

    def destroy_node(self) -> None:
        """Stop the inference thread before the publishers go."""
        self._stop()
        self._free()
        super().destroy_node()

    def _why_fixed(self) -> str:
        """How to get where all parameters may be changed; '' where they may."""
        if self._phase == 'unconfigured':
            return ''
        active = self._phase == 'active'
        words = 'deactivate the node, then clean up' if active else 'clean up the node first'
        command = f'ros2 lifecycle set {self.get_fully_qualified_name()}'
        return f'{words}: {command} {"deactivate" if active else "cleanup"}'

    def _start(self) -> bool:
        """Subscribe and start the worker; False while an earlier frame hangs in the model.

        Where that raises nothing is left running.
        """
        if self.hangs and not self._stop():
            return False
        if self._worker is not None or self._estimator is None:
            return True
        replay = self.settings.process_every_frame
        exchange = FrameExchange(
            tuple(self.cameras), REPLAY_QUEUE if replay else 1, on_room=self._wake
        )
        worker = Worker(self, self._estimator, exchange, self.cameras)
        worker.start()
        self._worker = worker
        try:
            self._listen(exchange)
        except Exception:
            self._stop()  # or it would count as running
            raise
        return True

    def _listen(self, exchange: FrameExchange) -> None:
        """Subscribe for all cameras."""
        for camera in self.cameras.values():
            camera.input.open(exchange)
            inputs = [
                f'images on {camera.input.subscribed}',
                f'camera_info on {camera.calibration.subscribed}',
                camera.metric.scale.subscribed,
                camera.mounting.subscribed,
                self._odometry.subscribed if self._odometry else '',
            ]
            self.get_logger().info(f'{camera.name}: waiting for {", ".join(filter(None, inputs))}')
        self._parameter_server.warn_of_unused_qos()

    def _wake(self) -> None:
        """Let the executor look again for messages it may take; called by the worker's thread."""
        executor = self.executor
        if executor is not None:
            with contextlib.suppress(InvalidHandle):  # it is being shut down
                executor.wake()

    def _stop(self) -> bool:
        """Unsubscribe and stop the worker; False while a frame hangs in the model."""
        if self._worker is None:
            return True
        for camera in self.cameras.values():
            camera.input.close()
        self.hangs = not self._worker.stop()
        if self.hangs:
            self.get_logger().fatal(
                'the inference thread hangs in a frame and cannot be stopped: end the process'
            )
            return False
        self._worker = None
        return True

    def _free(self) -> None:
        for camera in self.cameras.values():
            camera.close()
        self.cameras = {}
        if self._odometry is not None:
            self._odometry.close()
            self._odometry = None
        if self._tf is not None:
            self._tf.close()
            self._tf = None
        self._phase = 'unconfigured'
        estimator, self._estimator = self._estimator, None
        if estimator is not None and not self.hangs:  # else the thread still uses it
            estimator.close()

    def _refuse_impossible_transitions(self) -> None:
        """Refuse a transition that the state does not allow, and log those it allows.

        rclpy would raise, which ends the process, or silently refuse an unknown label.
        """
        answer = self._service_change_state.callback

        def callback(request: ChangeState.Request, response: ChangeState.Response) -> Any:
            asked = request.transition
            possible = {each[0]: each[1] for each in self._state_machine.available_transitions}
            name = asked.label or TRANSITIONS.get(asked.id, asked.id)
            if asked.label in possible.values() or (not asked.label and asked.id in possible):
                return answer(request, response)
            listed = ', '.join(f'{label} ({number})' for number, label in possible.items())
            self.get_logger().error(
                f'transition {printable(str(name), MOST_LISTED)} refused: the node is '
                f'{self._state_machine.current_state[1]}, from which these transitions are '
                f'possible: {listed or "none"}'
            )
            response.success = False
            return response

        self._service_change_state.callback = callback

    def _autostart(self) -> None:
        """Configure and activate once, as a lifecycle manager would."""
        self.destroy_timer(self._autostart_timer)
        if self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS:
            return
        self.get_logger().fatal('start-up failed, see the error above')
        self.exit_code = 1  # ends the process, see run_node

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Pause or resume; refused while the node is not active."""
        response.success = self._phase == 'active'
        if not response.success:
            unconfigured = self._phase == 'unconfigured'
            first = 'configure it, then activate it' if unconfigured else 'activate it'
            response.message = f'the node is not active: {first} first'
        else:
            response.success = self._start() if request.data else self._stop()
            response.message = 'running' if request.data else 'paused'
            if not response.success:
                response.message = 'the inference thread hangs in a frame: end the process'
        return response

    def running_cameras(self) -> list[Camera]:
        """The cameras of an active, enabled node; [] otherwise."""
        return list(self.cameras.values()) if self._worker is not None else []

    def model_report(self, cpu_percent: float) -> ModelReport:
        """The estimator and the state of the node, for diagnostics."""
        estimator = self._estimator
        return ModelReport(
            node=self.get_name(),
            state=self._phase,
            enabled=self._worker is not None,
            model=estimator.model if estimator else '',
            backend=estimator.backend if estimator else '',
            precision=estimator.precision if estimator else '',
            notice=estimator.notice if estimator else '',
            licence=estimator.licence if estimator else '',
            threads=threads_for(self.settings.num_threads, parse_cpus(self.settings.cpu_affinity)),
            cpu_affinity=self.settings.cpu_affinity,
            niceness=self.settings.niceness,
            cpu_percent=cpu_percent,
            refused=refused_words(self),
            refused_recently=refused_words(self, recent=True),
        )


def main(args: list[str] | None = None) -> int:
    """Run the node until it is stopped; 1 if it could not start."""
    if printed_help('depth_node', DepthNodeSettings, __doc__, args):
        return 0
    keep_freed_memory()
    return run_node(DepthNode, args)


if __name__ == '__main__':
    sys.exit(main())
