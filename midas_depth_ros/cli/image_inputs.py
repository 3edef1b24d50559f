"""The pictures that a command line names: files, folders and patterns; and their outputs' names."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterable
from pathlib import Path

from midas_depth_ros.cli.image_outputs import OUTPUT_ENDINGS
from midas_depth_ros.images.sources import expanded_path
from midas_depth_ros.images.sources.pictures import (
    PICTURE_SUFFIXES,
    is_picture,
    natural_order,
)
from midas_depth_ros.lab.output import (
    CommandError,
)
from midas_depth_ros.options.files import is_folder, is_there


def expand(named: Iterable[str]) -> list[Path | CommandError]:
    """Return the pictures in order, each once; what stands for none is replaced by the error.

    A folder gives its pictures in natural order, without subfolders and without outputs of an
    earlier run. A name that does not exist is tried as a pattern (**, * and ?), for shells that do
    not expand it.
    """
    found: dict[str, Path | CommandError] = {}
    for text in named:
        for each in _pictures_of(text):
            key = os.path.realpath(each) if isinstance(each, Path) else str(each)
            found.setdefault(key, each)
    return list(found.values())


def _pictures_of(text: str) -> list[Path | CommandError]:
    path = expanded_path(text)
    if not text:
        return [CommandError('a FILE has an empty name: no such file or folder')]
    if is_folder(path):
        return _of_folder(path)
    if is_there(path) or path.is_symlink():
        return [path]
    if not glob.has_magic(text):
        return [CommandError(f'{text}: no such file or folder')]
    matched = [found for found in _matches(path) if is_picture(found) and is_there(found)]
    if not matched:
        return [CommandError(f'{text}: no picture matches ({", ".join(PICTURE_SUFFIXES)})')]
    matched = [found for found in matched if _is_unmade(found)]
    if not matched:
        return [CommandError(f'{text}: only outputs of an earlier run match: name them one by one')]
    return [*sorted((each for each in matched if not is_folder(each)), key=natural_order)]


def _matches(pattern: Path) -> Iterable[Path]:
    """Return the matches of a pattern; ** does not follow links, which may form loops."""
    if '**' not in pattern.parts:
        return map(Path, glob.glob(str(pattern)))
    first = next(number for number, part in enumerate(pattern.parts) if glob.has_magic(part))
    folder = Path(*pattern.parts[:first])
    found = folder.glob(str(Path(*pattern.parts[first:])))
    return [
        path
        for path in found
        if not any(part.startswith('.') for part in path.relative_to(folder).parts)
    ]


def _of_folder(folder: Path) -> list[Path | CommandError]:
    try:
        pictures = _unmade_in(folder)
    except OSError as error:
        return [CommandError(f'cannot read the folder {folder}: {error.strerror}')]
    if not pictures:
        return [CommandError(f'{folder}: the folder holds no pictures (subfolders do not count)')]
    return [*sorted(pictures, key=natural_order)]


def _unmade_in(folder: Path) -> list[Path]:
    """Return the pictures in a folder that are not outputs of an earlier run. Raises OSError."""
    pictures = [path for path in folder.iterdir() if is_picture(path)]
    return [path for path in pictures if _is_unmade(path)]


def _is_unmade(path: Path) -> bool:
    return not path.name.endswith(OUTPUT_ENDINGS)


def output_names(pictures: list[Path]) -> dict[Path, str]:
    """Return the stems of the outputs of each picture, with its suffix where needed.

    IMG_1.HEIC and IMG_1.JPG are different pictures. Those beside a picture count as well, so that
    its outputs have the same names when it is processed alone.
    """
    known = dict.fromkeys(pictures)
    for folder in dict.fromkeys(each.parent for each in pictures):
        with contextlib.suppress(OSError):
            known |= dict.fromkeys(_unmade_in(folder))
    long: set[str] = set()  # names of pictures whose outputs have the suffix as well
    while True:
        names = {
            each: f'{each.stem}_{each.suffix[1:]}' if each.name in long else each.stem
            for each in known
        }
        shared: dict[str, set[str]] = {}
        for picture, name in names.items():
            shared.setdefault(name, set()).add(picture.name)
        more = {each for group in shared.values() if len(group) > 1 for each in group} - long
        if not more:
            return names
        long |= more
