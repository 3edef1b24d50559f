"""The container's parts that need no container: its health check, its entry point, what is copied.

`scripts/container` builds the image and tries all of it.
"""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from midas_depth_ros.lab.processes import free_domain
from midas_depth_ros.options.declarations import bounds_of
from midas_depth_ros.options.depth import DepthNodeSettings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'container'))
import healthy  # noqa: E402

DOCKERFILE = (ROOT / 'Dockerfile').read_text()


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers every request with one status."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ('status', 'fault'), [(200, ''), (401, ''), (500, 'answers with status 500')]
)
def test_a_dashboard_that_asks_for_a_token_is_healthy_and_one_that_fails_is_not(
    monkeypatch, capsys, status, fault
):
    handler = type('Handler', (Answering,), {'status': status})
    with http.server.HTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = ['--host', '0.0.0.0', '--port', str(server.server_port)]
        commands = {
            'index': ['python3', '-m', 'midas_depth_ros.cli.dashboard', *address],
            'pip': ['/opt/midas_depth/bin/python3', '/opt/midas_depth/bin/dashboard', *address],
            'on_ros': ['python3', '/robot/install/lib/midas_depth_ros/dashboard', *address],
            'one word': ['dashboard', f'--port={server.server_port}'],
        }
        for name, command in commands.items():
            monkeypatch.setattr(healthy, 'command_lines', lambda: [['tini'], command])  # noqa: B023
            assert healthy.main() == bool(fault), name
            assert (fault or 'the dashboard answers') in capsys.readouterr().out, name
        server.shutdown()
        thread.join()
    assert healthy.main() == 1
    assert f'does not answer on 127.0.0.1:{server.server_port}' in capsys.readouterr().out, 'closed'


@pytest.mark.parametrize(
    ('given', 'asked'),
    [
        ([], '127.0.0.1:8080'),
        (['--host', '0.0.0.0'], '127.0.0.1:8080'),
        (['--host=10.0.0.7', '--port', '9090'], '10.0.0.7:9090'),
        (['--host', '::'], '[::1]:8080'),
        (['--host', 'fe80::1', '--no-ros', '--port=81'], '[fe80::1]:81'),
    ],
)
def test_the_dashboard_is_asked_where_it_listens(given, asked):
    assert healthy.dashboard_address([['python3', '/x/dashboard', *given]]) == asked


def test_a_node_with_dashboard_in_a_parameter_is_no_dashboard():
    node = ['python3', '/x/depth_node', '--ros-args', '-p', 'model:=/models/bin/dashboard']
    assert not healthy.dashboard_address([node, ['sh', '/usr/local/bin/entrypoint', 'demo']])


def test_the_depth_node_is_healthy_by_its_own_diagnostics_alone():
    with free_domain() as domain:
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain)}
        code = 'import sys, healthy; healthy.LISTEN_S = 20.0; sys.exit(bool(healthy.node_fault()))'
        node = subprocess.Popen(
            [sys.executable, '-m', 'midas_depth_ros.nodes.depth.node', '--ros-args',
             '-p', 'model:=embedded', '-p', 'diagnostics_rate:=5.0'],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            command = [sys.executable, '-c', code]
            assert subprocess.run(command, env=environment, cwd=ROOT / 'container').returncode == 0
        finally:
            node.terminate()
            node.wait(30)
        quick = code.replace('20.0', '1.5')
        command = [sys.executable, '-c', quick]
        assert subprocess.run(command, env=environment, cwd=ROOT / 'container').returncode == 1


def test_a_node_that_publishes_diagnostics_as_rarely_as_it_may_is_heard_in_time():
    slowest_hz = bounds_of(DepthNodeSettings, 'diagnostics_rate')[0]
    assert 1 / slowest_hz < healthy.LISTEN_S
    timeouts = [
        int(text) for text in re.findall(r'^HEALTHCHECK .*--timeout=(\d+)s', DOCKERFILE, re.M)
    ]
    assert len(timeouts) == 2
    assert min(timeouts) >= healthy.LISTEN_S + 5, 'Python and DDS have to start, too'


def test_the_entry_point_runs_the_demo_unless_something_else_is_asked_for(tmp_path):
    for name in ('midas_depth', 'depth_node'):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        program.chmod(0o755)
    environment = {'PATH': f'{tmp_path}:{os.environ["PATH"]}'}

    def said(*arguments: str) -> str:
        command = [ROOT / 'container/entrypoint', *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    demo = 'midas_depth demo --dashboard-host 0.0.0.0 --keep-going --output /tmp/demo'
    assert said() == said('demo') == demo
    assert said('demo', '--world', '7') == f'{demo} --world 7'
    assert said('depth_node', '--ros-args', '-p', 'a:=b c') == 'depth_node --ros-args -p a:=b c'


def test_all_that_is_copied_is_there_and_is_sent_to_the_builder():
    ignored = (ROOT / '.dockerignore').read_text().splitlines()
    copied = [
        word
        for line in re.findall(r'^COPY (?!--from)(.*)$', DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
    ]
    assert len(copied) > 10
    for path in copied:
        if path == '.':
            continue
        assert (ROOT / path).exists(), path
        assert f'!{path.split("/")[0]}' in ignored, path
    wanted = re.findall(r'requirements/([a-z_]+)\.txt', DOCKERFILE)
    words = re.search(r'files="([a-z ]+)"', DOCKERFILE)[1].split()
    for name in {*wanted, *words, 'torch'}:
        assert (ROOT / f'requirements/{name}.txt').exists()


def test_the_image_runs_as_a_user_and_compose_asks_for_shared_memory_too():
    last = DOCKERFILE.split('FROM ${BASE} AS robot')[1].split('FROM ')[0]
    assert re.search(r'^USER robot$', last, re.MULTILINE)
    assert 'HEALTHCHECK' in last
    services = yaml.safe_load((ROOT / 'compose.yaml').read_text())['services']
    node = services['depth_node']
    assert (node['network_mode'], node['ipc']) == ('host', 'host')
    assert node['command'].split()[0] == 'depth_node'
    assert services['demo']['ports'] == ['127.0.0.1:8080:8080'], 'not for everybody in the network'
