"""Which pictures a person means: files, folders of them and patterns, each once, in order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from midas_depth_ros.commands.errors import CommandError
from midas_depth_ros.images.sources import expanded
from midas_depth_ros.images.sources.pictures import PICTURE_SUFFIXES, is_picture, natural_order
from midas_depth_ros.options.files import is_folder, is_there


def expand(named: Iterable[str], leave_out: Iterable[str] = ()) -> list[Path | CommandError]:
    """The pictures, and in the place of what stands for none the error that says so.

    A folder gives its pictures in natural order, without those of its sub-folders and without
    those whose names end in one of `leave_out` (what an earlier run left there). A name that
    does not exist is tried as a pattern (**, * and ?), for shells that do not expand it.
    """
    found: list[Path | CommandError] = []
    seen: set[str] = set()
    for text in named:
        for each in _meant(text, tuple(leave_out)):
            key = os.path.realpath(each) if isinstance(each, Path) else str(each)
            if key not in seen:
                seen.add(key)
                found.append(each)
    return found


def _meant(text: str, leave_out: tuple[str, ...]) -> list[Path | CommandError]:
    path = expanded(text)
    if not text:
        return [CommandError('a FILE without a name: there is no such file or folder')]
    if is_folder(path):
        return _of_folder(path, leave_out)
    if is_there(path) or path.is_symlink():
        return [path]
    if not glob.has_magic(text):
        return [CommandError(f'{text}: there is no such file or folder')]
    matched = [found for found in _matches(path) if is_picture(found) and is_there(found)]
    if not matched:
        return [CommandError(f'{text}: no picture matches ({", ".join(PICTURE_SUFFIXES)})')]
    return [*sorted((each for each in matched if not is_folder(each)), key=natural_order)]


def _matches(pattern: Path) -> Iterable[Path]:
    """What a pattern means. Through ** no links are followed: they may lead in circles."""
    if '**' not in pattern.parts:
        return map(Path, glob.glob(str(pattern)))
    first = next(number for number, part in enumerate(pattern.parts) if glob.has_magic(part))
    folder = Path(*pattern.parts[:first])
    found = folder.glob(str(Path(*pattern.parts[first:])))
    return [each for each in found if not _is_hidden(each.relative_to(folder))]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith('.') for part in path.parts)


def _of_folder(folder: Path, leave_out: tuple[str, ...]) -> list[Path | CommandError]:
    try:
        pictures = [path for path in folder.iterdir() if is_picture(path)]
    except OSError as error:
        return [CommandError(f'{folder}: the folder cannot be read: {error.strerror}')]
    pictures = [path for path in pictures if not path.name.endswith(leave_out)]
    if not pictures:
        return [CommandError(f'{folder}: the folder holds no pictures; sub-folders are not read')]
    return [*sorted(pictures, key=natural_order)]
