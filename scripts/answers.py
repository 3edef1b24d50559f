"""What this processor answers, and how far that is from what another one answers.

    answers.py write FOLDER [REFERENCE]   one picture, through every backend and three commands
    answers.py compare REFERENCE FOLDER   how they differ; exits with 1 if too much

`scripts/test_arm` compares ARM with x86 by it. The int8 model is made with the reference, for both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.backends import BACKENDS
from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.depth.model_check import ASSETS, LEAST_CORRELATION, MOST_ABS_REL
from midas_depth_ros.depth.model_check import compare as correlation_and_abs_rel

MODEL, PICTURE = 'embedded', ASSETS / 'samples' / 'room_1.jpg'
NETWORK_SIZE = (256, 192)  # (width, height), for which the model takes a picture as it is
# Of the range of values. Sums in another order differ by 1e-6 to 1e-5. OpenCV's bilinear resize
# differs by one level of 255 between processors: in the command `image`, not at NETWORK_SIZE.
MOST_DIFFERENCE, MOST_WITH_RESIZE = 1e-4, 1e-2
ALWAYS = ('openvino f32', 'onnxruntime f32', 'opencv f32')  # torch is an extra
# Files of a folder: maps by backend and precision, and what three commands give.
MAPS, DEPTH, GRAPH, INSPECTED = 'maps.npz', 'room_1_depth16.png', 'embedded.onnx', 'inspected.json'
INT8, INT8_FILE = 'openvino int8', 'embedded_int8.xml'
# Values halfway between two steps of int8 are rounded otherwise by another processor. That may make
# no more of a difference than this share of what int8 makes on the reference itself.
MOST_OF_INT8 = 0.5

Maps = dict[str, NDArray[np.float32]]


def write(folder: Path, reference: Path | None) -> None:
    """Answer with every backend and precision of this processor, and by the command line."""
    folder.mkdir(parents=True, exist_ok=True)
    if reference is None:
        int8 = ('--precision', 'int8', '--output', folder / INT8_FILE)
        command('export', MODEL, *int8, '--force')
    labels = [f'{name} {kind}' for name, each in BACKENDS.items() for kind in each.precisions]
    models = dict.fromkeys(labels, MODEL) | {INT8: str((reference or folder) / INT8_FILE)}
    np.savez(folder / MAPS, **maps(models))
    of_model = ('--model', MODEL, '--backend', 'openvino', '--precision', 'f32')
    command('image', PICTURE, *of_model, '--only', 'depth16', '-o', folder, '--force')
    command('export', MODEL, '--format', 'onnx', '--output', folder / GRAPH, '--force')
    inspected = json.loads(command('inspect', folder / GRAPH, '--json'))
    (folder / INSPECTED).write_text(json.dumps({**inspected, 'path': GRAPH}, indent=2))


def maps(models: Mapping[str, str]) -> Maps:
    """Relative inverse depth (h, w) of the picture, by backend and precision, where they run."""
    found: Maps = {}
    picture = cv2.cvtColor(cv2.imread(str(PICTURE)), cv2.COLOR_BGR2RGB)
    picture = cv2.resize(picture, NETWORK_SIZE, interpolation=cv2.INTER_AREA)
    for label, model in models.items():
        backend, precision = label.split()
        try:
            estimator = load_estimator(model, backend, 1, precision=precision)
        except DepthError as error:
            print(f'{label}: {str(error).splitlines()[0]}')
            continue
        with closing(estimator):
            found[label] = estimator.infer(picture)
        print(f'{label}: answered', flush=True)
    return found


def command(*arguments: str | Path) -> str:
    """What `midas_depth` prints. Raises CalledProcessError where it fails."""
    line = [sys.executable, '-m', 'midas_depth_ros', *map(str, arguments)]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout


def compare(reference: Path, folder: Path) -> list[str]:
    """Print how the folder's answers differ from the reference's; the faults, empty for none."""
    with np.load(reference / MAPS) as wanted, np.load(folder / MAPS) as found:
        faults = compare_maps(dict(wanted), dict(found))
    difference = cv2.absdiff(*(read_depth(each) for each in (reference, folder))).max() / 65535
    print(f'midas_depth image: differs by {difference:.1e} of the range')
    if difference > MOST_WITH_RESIZE:
        faults.append(f'midas_depth image: differs by more than {MOST_WITH_RESIZE:.0e}')
    for name, of in ((GRAPH, 'export'), (INSPECTED, 'inspect')):
        same = (reference / name).read_bytes() == (folder / name).read_bytes()
        print(f'midas_depth {of}: {"the same" if same else "differs"}')
        if not same:
            faults.append(f'midas_depth {of}: {reference / name} and {folder / name} differ')
    return faults


def compare_maps(wanted: Maps, found: Maps) -> list[str]:
    """Print and judge maps (h, w): f32 and int8 by their own, others by f32 of their backend."""
    faults = [f'{label}: no answer' for label in ALWAYS if label not in found]
    for label, answer in found.items():
        backend, precision = label.split()
        true = wanted.get(INT8 if label == INT8 else f'{backend} f32')
        if true is None:
            faults.append(f'{label}: the reference has no {backend}: write it anew')
            continue
        if precision == 'f32':
            difference = float(np.abs(answer - true).max() / np.ptp(true))
            print(f'{label}: differs by {difference:.1e} of the range')
            if not difference <= MOST_DIFFERENCE:
                faults.append(f'{label}: differs by more than {MOST_DIFFERENCE:.0e}')
            continue
        most = MOST_ABS_REL
        if label == INT8 and (exact := wanted.get(f'{backend} f32')) is not None:
            most = max(most, MOST_OF_INT8 * correlation_and_abs_rel(exact, true)[1])
        correlation, abs_rel = correlation_and_abs_rel(true, answer)
        print(f'{label}: correlation {correlation:.4f} and AbsRel {abs_rel:.4f}')
        if not (correlation >= LEAST_CORRELATION and abs_rel <= most):
            faults.append(f'{label}: beyond {LEAST_CORRELATION} and {most:.4f}')
    return faults


def read_depth(folder: Path) -> NDArray[np.uint16]:
    """(H, W) uint16. Raises OSError where `midas_depth image` has left none."""
    depth = cv2.imread(str(folder / DEPTH), cv2.IMREAD_UNCHANGED)
    if depth is None:
        raise OSError(f'{folder / DEPTH}: no picture')
    return depth


def main() -> int:
    """Return 1 where answers differ too much, 2 for a wrong call."""
    match sys.argv[1:]:
        case ['write', folder]:
            write(Path(folder), None)
        case ['write', folder, reference]:
            write(Path(folder), Path(reference))
        case ['compare', reference, folder]:
            faults = compare(Path(reference), Path(folder))
            for fault in faults:
                print(f'error: {fault}', file=sys.stderr)
            return int(bool(faults))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
