"""A command whose libraries are not all there says so in one sentence, whichever it is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from midas_depth_ros import start

# One of each kind; a library that a library brings along may be missing as well.
LIBRARIES = {
    'fastapi': 'pip install fastapi',
    'starlette': 'pip install fastapi',
    'typing_extensions': 'pip install typing-extensions',
    'cv2': 'sudo apt install python3-opencv',
    'rpyutils': 'source /opt/ros/',
    'ament_index_python': 'source /opt/ros/',
    'rosidl_parser.definition': 'source /opt/ros/',
    'geometry_msgs.msg': 'source /opt/ros/',
}


def importing(monkeypatch: pytest.MonkeyPatch, module: str, text: str) -> str:
    """What a command ends with whose import fails so."""

    def fail(name: str) -> None:
        raise ImportError(text, name=module)

    monkeypatch.setattr(start.importlib, 'import_module', fail)
    with pytest.raises(SystemExit) as end:
        start.dashboard()
    return str(end.value.code)


@pytest.mark.parametrize('module', LIBRARIES)
def test_a_library_that_is_missing_is_named_with_what_brings_it(monkeypatch, module):
    said = importing(monkeypatch, module, f'No module named {module!r}')
    assert said.startswith('error: dashboard ')
    assert LIBRARIES[module] in said
    assert '\n' not in said


def test_a_library_that_does_not_load_is_named_with_its_reason(monkeypatch):
    said = importing(monkeypatch, 'cv2', 'libGL.so.1: cannot open shared object file')
    assert 'libGL.so.1' in said
    assert 'pip install opencv-python-headless' in said


def test_a_library_that_only_a_part_of_the_command_needs_is_named_as_well(monkeypatch):
    def main() -> None:
        raise ModuleNotFoundError("No module named 'tqdm'", name='tqdm')

    monkeypatch.setattr(start.importlib, 'import_module', lambda name: SimpleNamespace(main=main))
    with pytest.raises(SystemExit, match=r'midas_depth cannot import tqdm.*pip install tqdm'):
        start.midas_depth()


@pytest.mark.parametrize('module', ['midas_depth_ros.views.gone', 'sqlite3', None])
def test_a_fault_of_our_own_is_no_missing_library(monkeypatch, module):
    with pytest.raises(ImportError, match='gone'):
        importing(monkeypatch, module, 'gone')
