"""The folders in which weights may lie, on this machine and for this user.

In go environment variables and the home folder, out come folders and what is in them. torch is
not imported: the folder of torch.hub is worked out from the variables that torch reads.
"""

from __future__ import annotations

import dataclasses
import os
import pwd
from pathlib import Path

import platformdirs

from midas_depth_ros.depth.weights_file import MIDAS_SMALL, Finding, WeightsFile, examine

DIR_VARIABLE = 'MIDAS_DEPTH_WEIGHTS_DIR'
CACHE_NAME = 'midas_depth_ros'


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder to look into; `ours` tells whether we may write there."""

    label: str
    folder: Path
    ours: bool


def places() -> list[Place]:
    """The folders looked at, in order. Those that no variable and no home leads to are left out."""
    found = []
    if named := os.environ.get(DIR_VARIABLE):
        found.append(Place(DIR_VARIABLE, absolute(named), ours=True))
    if cache := user_cache():
        found.append(Place("user's cache", cache, ours=True))
    if hub := _torch_hub_cache():
        found.append(Place('torch hub', hub, ours=False))
    return found


def absolute(path: Path | str) -> Path:
    """The path without `~` and from the root on."""
    # Not Path.expanduser, which raises where there is no home.
    return Path(os.path.abspath(os.path.expanduser(path)))


def _home() -> Path | None:
    """The home folder; HOME may be unset or empty in a container or a system service."""
    if home := os.environ.get('HOME'):
        return absolute(home)
    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None
    return absolute(home) if home else None


def user_cache() -> Path | None:
    """The folder of this package in the user's cache; None where there is no home."""
    if os.environ.get('HOME') or os.environ.get('XDG_CACHE_HOME'):
        return absolute(platformdirs.user_cache_dir(CACHE_NAME, appauthor=False))
    home = _home()  # platformdirs would take an empty HOME for the root folder
    return home / '.cache' / CACHE_NAME if home else None


def _torch_hub_cache() -> Path | None:
    if torch_home := os.environ.get('TORCH_HOME'):
        return absolute(torch_home) / 'hub' / 'checkpoints'
    if cache := os.environ.get('XDG_CACHE_HOME'):
        return absolute(cache) / 'torch' / 'hub' / 'checkpoints'
    home = _home()
    return home / '.cache' / 'torch' / 'hub' / 'checkpoints' if home else None


def survey(spec: WeightsFile = MIDAS_SMALL) -> list[tuple[Place, Finding]]:
    """What is at every path looked at, in order, the missing ones included."""
    seen: dict[Path, tuple[Place, Finding]] = {}
    for place in places():
        for path in (place.folder / name for name in spec.names):
            if path not in seen:
                seen[path] = (place, examine(path, spec))
    return list(seen.values())


def candidate_paths(spec: WeightsFile = MIDAS_SMALL) -> list[Path]:
    """Every path at which the weights are looked for, in order."""
    paths = (place.folder / name for place in places() for name in spec.names)
    return list(dict.fromkeys(paths))


def download_folder() -> Path | None:
    """Where downloads go: MIDAS_DEPTH_WEIGHTS_DIR if set, else the user's cache, else None."""
    return next((place.folder for place in places() if place.ours), None)
