"""The ROS domains of runs beside each other."""

from __future__ import annotations

import os
import socket

import click
import pytest

from midas_depth_ros.lab import processes
from midas_depth_ros.lab.processes import free_domain


def test_two_runs_at_once_meet_in_different_domains() -> None:
    with free_domain() as first, free_domain() as second:
        assert first != second
        assert {first, second} <= set(processes.DOMAINS)
    with free_domain() as again:
        assert again == first


def test_a_domain_whose_ports_are_open_is_left_alone() -> None:
    with free_domain() as first:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(('', processes.PORT_BASE + processes.DOMAIN_GAIN * first))
        with free_domain() as second:
            assert second != first


def test_a_lock_is_gone_when_its_run_is_over(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.tempfile, 'gettempdir', lambda: str(tmp_path))
    with free_domain() as first:
        (lock,) = tmp_path.iterdir()
        assert lock.name.endswith(f'_domain_{first}.lock')
        with processes._lock(first) as is_ours:
            assert not is_ours
    assert not list(tmp_path.iterdir())


def test_a_lock_that_was_removed_by_another_is_not_ours(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes.tempfile, 'gettempdir', lambda: str(tmp_path))
    original = processes.fcntl.flock

    def just_before_it_goes(descriptor: int, how: int) -> None:
        original(descriptor, how)
        for path in tmp_path.iterdir():
            path.unlink()

    monkeypatch.setattr(processes.fcntl, 'flock', just_before_it_goes)
    with processes._lock(7) as is_ours:
        assert not is_ours


def test_where_all_domains_are_taken_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with free_domain() as only:
        monkeypatch.setattr(processes, 'DOMAINS', (only,))
        with pytest.raises(click.ClickException, match='stop other runs, or set ROS_DOMAIN_ID'):
            free_domain().__enter__()


def test_a_run_keeps_its_domain_and_leaves_a_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE', *processes.PROFILE_VARIABLES):
        monkeypatch.setenv(name, '')  # so that it is put back
        monkeypatch.delenv(name)
    chosen = processes.set_up_ros()
    assert os.environ['ROS_DOMAIN_ID'] == str(chosen)
    with free_domain() as other:
        assert other != chosen
    monkeypatch.setenv('ROS_DOMAIN_ID', '42')
    assert processes.set_up_ros() == 42
    processes._UNTIL_EXIT.close()
