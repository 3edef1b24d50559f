"""The node's memory: frames leave nothing behind, and glibc is told to keep what it has freed."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest
from driving import DEPTH, HEATMAP, image, send_until
from geometry_msgs.msg import Vector3Stamped
from sensor_msgs.msg import Image

FIRST, MORE = 60, 150
# Far above what diagnostics and the test's own lists need, far below one object per frame kept.
MOST_OBJECTS = 4000

FAULTS = """
import resource, sys
import numpy as np
from midas_depth_ros.nodes.depth.worker import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == 'keep' else True
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def pictures():
    # As with real frames, several blocks come and go together.
    blocks = [bytearray(6_000_000) for _ in range(3)]
    for block in blocks:
        np.frombuffer(block, np.uint8)[::4096] = 1
pictures()
before = faults()
for _ in range(20):
    pictures()
print(kept, faults() - before)
"""

MAPPED = """
import mmap, re, sys
from pathlib import Path
from midas_depth_ros.nodes.depth.worker import release_mapped_files
path = sys.argv[1]
with open(path, 'rb') as file:
    mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
def resident():
    whole = Path('/proc/self/smaps').read_text()
    part = whole[whole.index(path):]
    return int(re.search(r'Rss: *(\\d+)', part)[1])
first = sum(mapped[::4096])
before = resident()
left = release_mapped_files('.bin'), release_mapped_files('.onnx')
after = resident()
print(before, left[0] // 1024, left[1], after, sum(mapped[::4096]) == first)
"""


@pytest.mark.thorough
def test_frames_leave_no_objects_behind(ros, start):
    start(max_rate=0.0)
    out = ros.collect(Image, DEPTH)
    ros.collect(Image, HEATMAP)
    ros.collect(Vector3Stamped, 'camera/closeness')
    publisher = ros.publisher(Image, 'camera/image_raw')

    def objects_after(count: int, first: int) -> int:
        send_until(ros, publisher, lambda i: image(first + i), out, count)
        gc.collect()
        kinds = ('SerialisedImage', 'SerialisedHeader', 'Frame', 'FrameView')
        alive = gc.get_objects()
        assert sum(type(one).__name__ in kinds for one in alive) < 20
        return len(alive)

    before = objects_after(FIRST, 1000)
    after = objects_after(MORE, 9000)
    # What the test collects are messages with a header and a stamp each.
    assert after - before < MOST_OBJECTS + 12 * MORE


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc is of Linux')
def test_freed_memory_is_used_again():
    counts = {}
    for how in ('keep', 'usual'):
        result = subprocess.run(
            [sys.executable, '-c', FAULTS, how],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        kept, count = result.stdout.split()
        if kept != 'True':
            pytest.skip('no glibc here')
        counts[how] = int(count)
    assert counts['keep'] < 0.1 * counts['usual']


@pytest.mark.skipif(sys.platform != 'linux', reason='/proc is of Linux')
def test_a_mapped_file_leaves_memory_and_can_still_be_read(tmp_path):
    path = tmp_path / 'model.bin'
    path.write_bytes(bytes(range(256)) * 4096 * 4)  # 4 MiB
    result = subprocess.run(
        [sys.executable, '-c', MAPPED, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    before, left, others, after, same = result.stdout.split()
    assert (before, left, others, after, same) == ('4096', '4096', '0', '0', 'True')
