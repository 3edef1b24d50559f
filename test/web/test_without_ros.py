"""The HTTP part runs where rclpy cannot be imported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from web_pictures import png_file, ramp

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, pathlib

class NoRos:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('rclpy', 'sensor_msgs', 'diagnostic_msgs', 'rcl_interfaces'):
            raise ModuleNotFoundError('no ROS here: ' + name, name=name)

sys.meta_path.insert(0, NoRos())
import importlib
for path in sorted(pathlib.Path('midas_depth_ros/web').glob('*.py')):
    if path.stem == 'ros_facts' or not path.stem.startswith(('ros_', '__')):
        importlib.import_module('midas_depth_ros.web.' + path.stem)
from starlette.testclient import TestClient
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.web.app import Dashboard
dashboard = Dashboard(lambda: load_estimator('embedded'))
client = TestClient(dashboard.asgi, 'http://localhost')
answer = client.post('/api/predict', files={'image': sys.stdin.buffer.read()})
dashboard.close()
print(answer.status_code, answer.headers['content-type'], 'torch' in sys.modules)
"""


def test_a_picture_is_answered_where_there_is_no_ros_and_no_torch():
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        input=png_file(ramp(96, 128)),
        capture_output=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout.split() == [b'200', b'image/png', b'False']


def test_only_the_ros_modules_name_ros():
    for path in sorted((ROOT / 'midas_depth_ros' / 'web').glob('*.py')):
        names = set(re.findall(r'^\s*(?:from|import) (\w+)', path.read_text(), re.MULTILINE))
        speaks_ros = bool(names & {'rclpy', 'rcl_interfaces', 'std_srvs'}) or any(
            name.endswith('_msgs') for name in names
        )
        assert not speaks_ros or path.stem.startswith('ros_'), path


def test_nothing_but_the_console_script_stands_on_the_dashboard():
    for path in (ROOT / 'midas_depth_ros').rglob('*.py'):
        if path.parent.name not in ('web', 'cli', 'demo') and path.name != 'start.py':
            assert 'midas_depth_ros.web' not in path.read_text(), path
