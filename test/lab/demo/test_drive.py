"""A drive made by hand: what is kept, how scans are judged, figures, and the top view."""

import dataclasses
import io
import itertools
import math
import socket
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from midas_depth_ros.lab.demo import report
from midas_depth_ros.lab.demo import run as dashboard
from midas_depth_ros.lab.demo.recording import (
    Beams,
    ClosenessSample,
    DriveRecording,
    Pair,
    Place,
    Recording,
)
from midas_depth_ros.lab.demo.report import CLEAR_M, met_by, seen_free
from midas_depth_ros.lab.demo.run import Plan, Run, drive_heatmap_options
from midas_depth_ros.lab.demo.summary import (
    as_text,
    summarise,
    summarise_drive,
    why_it_did_not_drive,
)
from midas_depth_ros.sim import furnished_world
from midas_depth_ros.views import colour_table, metric_heatmap

NAN, INF = math.nan, math.inf
ALL_ROUND = np.arange(-180, 180) * math.pi / 180
AHEAD = np.array([-0.2, 0.0, 0.2])
START_S = 1_700_000_000.0
ROBOT_STATUS = {
    'collisions': '0',
    'distance_m': '4.25',
    'turned_rad': '3.0',
    'stops': '2',
    'min_clearance_m': '0.125',
    'seconds': '12.5',
}


def scan(stamp_s: float, *ranges: float) -> Beams:
    return Beams(stamp_s, AHEAD, np.array(ranges, np.float32))


def truth(stamp_s: float, distance: float) -> Beams:
    return Beams(stamp_s, ALL_ROUND, np.full(360, distance, np.float32))


def test_a_scan_is_compared_with_the_truth_of_its_own_stamp_in_either_order():
    drive = DriveRecording()
    drive.add_scan(scan(1.0, 2.2, 1.8, NAN))
    drive.add_truth(truth(1.0, 2.0))
    drive.add_truth(truth(2.0, 1.0))
    drive.add_scan(scan(2.0, INF, 1.5, 1.0))
    drive.add_truth(truth(3.0, 1.0))  # nobody saw it
    assert drive.errors == pytest.approx([0.1, -0.1, 0.5, 0.0], abs=1e-6)
    assert (drive.seen, drive.to_be_seen) == (4, 5)  # unknown is no claim, clear is a wrong one


def test_what_is_too_far_or_too_near_is_not_compared():
    drive = DriveRecording()
    for stamp, distance in ((1.0, 9.0), (2.0, 0.1), (3.0, INF)):
        drive.add_truth(truth(stamp, distance))
        drive.add_scan(scan(stamp, 1.0, 1.0, 1.0))
    assert drive.errors == []
    assert drive.to_be_seen == 0


def test_the_way_and_the_state_at_a_time():
    drive = DriveRecording()
    for i in range(11):
        drive.places.offer(lambda i=i: Place(i * 0.1, 0.05 * i, 0.0, 0.0))
    for time_s, state in ((0.2, 'clear'), (0.4, 'clear'), (0.6, 'stopped')):
        drive.add_state(time_s, state)
    assert drive.distance_until(0.5) == pytest.approx(0.25)
    assert drive.place_at(0.52).x == pytest.approx(0.25)
    assert [drive.state_at(t) for t in (0.1, 0.5, 0.7)] == ['', 'clear', 'stopped']
    drive.add_scan(scan(0.5, 1.0, 1.0, 1.0))
    assert drive.scan_at(0.51, 0.02) is not None
    assert drive.scan_at(0.6, 0.02) is None


def test_what_beams_met_and_how_far_they_were_seen_free():
    one = dataclasses.replace(scan(0.0, 1.0, INF, NAN), free=np.array([0.4, 6.0, NAN]))
    place = Place(0.0, 2.0, 1.0, math.pi / 2)
    turned = math.pi / 2 + AHEAD[0]
    met = met_by(one, place)
    assert met[0] == pytest.approx([2 + math.cos(turned), 1 + math.sin(turned), 1.0])
    assert np.isnan(met[1:]).all()
    free = seen_free(one, place)
    # Before an obstacle, too, only what was seen is free.
    assert free[0] == pytest.approx([2 + 0.4 * math.cos(turned), 1 + 0.4 * math.sin(turned)])
    assert free[1] == pytest.approx([2.0, 1.0 + CLEAR_M])
    assert free[2] == pytest.approx([2.0, 1.0])


def test_a_scan_is_joined_with_what_it_saw_free():
    drive = DriveRecording()
    drive.add_seen_free(scan(0.5, 0.7, 2.0, NAN))
    for stamp_s in (0.5, 0.7):
        drive.add_scan(scan(stamp_s, 1.0, INF, NAN))
    first, second = drive.scans.items
    np.testing.assert_allclose(first.free, [0.7, 2.0, NAN], rtol=1e-6)
    assert second.free is None


def make_run(frames: int = 8, seed: int = 0) -> Run:
    """The robot goes ahead from its start; every second heatmap has a scan."""
    recording, drive = Recording(), DriveRecording()
    x, y, yaw = furnished_world(seed).start
    for i in range(frames):
        stamp = START_S + 0.1 * i
        grey = np.full((150, 200, 3), 90, np.uint8)
        recording.add_pair(Pair(0.1 * i, grey, grey + 60, stamp))
        recording.closeness.append(ClosenessSample(0.1 * i, 0.2, 0.3, NAN))
        drive.places.offer(
            lambda i=i, s=stamp: Place(
                s, x + 0.1 * i * math.cos(yaw), y + 0.1 * i * math.sin(yaw), yaw
            )
        )
        if i % 2 == 0:
            drive.add_scan(scan(stamp, 1.0, 1.5, INF))
            drive.add_truth(truth(stamp, 1.0))
    recording.counts['heatmap/image'] = frames
    # What was before the recording does not count.
    drive.states = [(0.0, 'stopped: no data'), (4.0, 'clear'), (17.5, 'stopped: obstacle')]
    drive.began_s, drive.ended_s = 10.0, 20.0
    drive.robot_status = dict(ROBOT_STATUS)
    recording.drive = drive
    return Run(Plan(world=seed), recording, 7, 'now', 3.0, 8.0, '', {'camera': 0})


def test_figures_of_a_drive():
    drive = summarise(make_run())['drive']
    assert (drive['distance_m'], drive['stops'], drive['collisions']) == (4.25, 2, 0)
    assert drive['min_clearance_m'] == 0.125
    assert drive['states'] == {'clear': 0.75, 'stopped: obstacle': 0.25}
    assert drive['scan_share'] == 0.5
    error = drive['scan_error']
    assert (error['beams'], error['median'], error['p90']) == (8, 0.25, 0.5)
    assert error['missed'] == pytest.approx(1 / 3, abs=1e-3)
    assert summarise(make_run())['source'] == 'a simulated robot in furnished world 0'


def test_the_text_tells_of_the_drive():
    text = as_text(summarise(make_run()))
    for words in ('4.25 m, 2 stops', 'clear 75%, stopped: obstacle 25%', 'median 25.0%'):
        assert words in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_without_any_message_of_the_robot_it_is_summarised_and_said_to_have_stood():
    run = make_run()
    run.recording.drive = DriveRecording()
    summary = summarise(run)
    assert summary['drive']['distance_m'] is None
    assert 'did not drive' in why_it_did_not_drive(summary)
    assert why_it_did_not_drive({**summary, 'seconds': 2.0}) == ''
    assert as_text(summary)


def test_who_drove_did_not_stand_and_pictures_do_not_drive():
    assert why_it_did_not_drive(summarise(make_run())) == ''
    run = make_run()
    run.recording.drive = None
    assert summarise_drive(run) is None
    assert why_it_did_not_drive({'drive': None}) == ''


def test_pictures_have_the_top_view_beside_them_and_it_changes(tmp_path):
    report.write(make_run(), tmp_path)
    paths = sorted((tmp_path / 'pictures').iterdir())
    views = []
    for path in paths:
        with Image.open(path) as image:
            picture = np.asarray(image).astype(int)
        views.append(picture[:, 2 * 200 * 2 :])  # the pictures are enlarged twice
    assert len({view.shape for view in views}) == 1
    assert views[0].shape[1] > 100
    for before, after in itertools.pairwise(views):
        assert np.abs(after - before).max() > 50
    with Image.open(tmp_path / 'run.gif') as animation:
        assert animation.n_frames == 8


def test_moments_without_a_scan_are_left_out_where_there_are_others(tmp_path):
    (tmp_path / 'some').mkdir()
    (tmp_path / 'none').mkdir()
    run = make_run()  # scans at 0.0, 0.2, 0.4 and 0.6 s
    report.write(run, tmp_path / 'some')
    names = [path.name for path in sorted((tmp_path / 'some' / 'pictures').iterdir())]
    assert [name[6:11] for name in names] == ['000.0', '000.2', '000.4', '000.6']
    run.recording.drive.scans.items.clear()
    report.write(run, tmp_path / 'none')
    assert len(list((tmp_path / 'none' / 'pictures').iterdir())) == 6


class FakeChildren:
    """Starts nothing; its one child has ended or has said something."""

    def __init__(self, folder, exit_code=None, said=''):
        self.folder, self.exit_code, self.said = folder, exit_code, said
        self.started = []

    def start(self, name, command):
        self.started.append(command)
        log = self.folder / f'{name}.log'
        log.write_text(f'$ python http://127.0.0.1:1/of-the-command-line\n{self.said}')
        return SimpleNamespace(
            exit_code=self.exit_code,
            status=lambda: f'{name} ended with exit code {self.exit_code}',
            tail=lambda: log.read_text().splitlines(),
            last_message=lambda: log.read_text().splitlines()[-1],
        )


def looked_at(children, port=8080, **more) -> str:
    console = Console(file=io.StringIO(), width=200)
    instance = dashboard.Dashboard(children, console, port, ' (hint)', **more)
    for _ in range(3):
        instance.look()
    return console.file.getvalue()


def test_the_address_of_the_dashboard_is_told_once(tmp_path):
    children = FakeChildren(tmp_path, said='dashboard: http://127.0.0.1:8080/\n')
    text = looked_at(children)
    assert text == 'Live view in a browser: http://127.0.0.1:8080/ (hint)\n'
    assert children.started[0][1:3] == ['-m', 'midas_depth_ros.cli.dashboard']


@pytest.mark.parametrize(('host', 'address'), [('0.0.0.0', '172.17.0.2'), ('::', '[2001:db8::7]')])
def test_from_a_container_the_address_is_that_of_the_machine_around_it(tmp_path, host, address):
    children = FakeChildren(tmp_path, said=f'dashboard: http://{address}:8080/?token=a-b_c\n')
    text = looked_at(children, host=host)
    assert text == 'Live view in a browser: http://localhost:8080/?token=a-b_c (hint)\n'
    command = children.started[0]
    assert command[command.index('--host') + 1] == host


def test_nothing_is_told_before_it_is_ready(tmp_path):
    assert looked_at(FakeChildren(tmp_path)) == ''


def test_a_dashboard_that_cannot_run_is_told_and_no_more(tmp_path):
    children = FakeChildren(tmp_path, exit_code=1, said='Error: the dashboard needs fastapi')
    text = looked_at(children)
    assert text.count('No dashboard') == 1
    assert 'exit code 1: Error: the dashboard needs fastapi' in text


def test_no_dashboard_is_started_where_none_is_wanted(tmp_path):
    children = FakeChildren(tmp_path)
    assert looked_at(children, port=0) == ''
    assert children.started == []


def test_without_odometry_the_plan_is_drawn_alone(tmp_path):
    run = make_run(2)
    run.recording.drive = DriveRecording()
    report.write(run, tmp_path)
    assert len(list((tmp_path / 'pictures').iterdir())) == 2


def test_a_taken_port_is_replaced():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert dashboard.free_port(port) not in (0, port)
    assert dashboard.free_port(port) == port


def test_half_of_the_colours_of_a_drive_are_for_what_is_across_the_room():
    """85 % of them were for less than 1.5 m: all furniture had one colour."""
    options = drive_heatmap_options()
    assert not options.legend  # it stands beside the picture
    near, far = (
        metric_heatmap(np.full((4, 4), 1 / metres, np.float32), None, options)[0, 0]
        for metres in (1.5, 5.0)
    )
    table = colour_table(options.colormap).astype(int)
    first, last = (int(np.argmin(np.abs(table - each).sum(axis=1))) for each in (far, near))
    assert last - first > 0.3 * 255
    assert last > 0.4 * 255
    turbo = drive_heatmap_options(('heatmap.colormap:=turbo', 'max_rate:=3.0'))
    assert (turbo.colormap, turbo.metric_far) == ('turbo', options.metric_far)
    assert drive_heatmap_options(('heatmap.mode:=relative',)) is None
