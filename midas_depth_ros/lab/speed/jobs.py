"""What the processes that measure one model are told, and how they answer.

Imports little, since it is part of a process whose memory is measured.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from midas_depth_ros.depth import models
from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.depth.models.spec import ModelSpec, PictureInput

Size = tuple[int, int]  # width, height


@dataclasses.dataclass(frozen=True)
class Job:
    """What to do with a model.

    `backend`, `precision`: of what is loaded alone. `without`: names of ways to leave out.
    `answer`: the file for what was found.
    `short_side`: of the network's input, 0 = the model's own size. `trained`: whether the weights
    are real, so that a precision can be judged by them. `began`: when this process was started.
    """

    model: str
    weights: str
    answer: str
    picture: Size
    short_side: int = 0
    threads: int = 0
    seconds: float = 6.0
    trained: bool = False
    backend: str = ''
    precision: str = ''
    without: tuple[str, ...] = ()
    began: float = 0.0

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The inverse of `to_json`."""
        values = json.loads(text)
        pairs = {name: tuple(values[name]) for name in ('picture', 'without')}
        return cls(**{**values, **pairs})


def resized(picture_input: PictureInput, short_side: int) -> PictureInput:
    """The same with this short side, to the nearest multiple; as it is for 0 and fixed sizes."""
    if not short_side or picture_input.fixed_size:
        return picture_input
    multiple = picture_input.multiple
    return picture_input.with_short_side(max(round(short_side / multiple), 1) * multiple)


def at_size(name: str, short_side: int) -> ModelSpec:
    """The model, known from now on in this process with the size of its input changed."""
    known = [models.spec(each) for each in models.names()]
    changed = dataclasses.replace(
        models.spec(name), picture=resized(models.spec(name).picture, short_side)
    )
    for each in known:
        models.unregister(each.name)
    for each in known:  # in the same order, by which files are recognised
        models.register(changed if each.name == name else each)
    return changed


def carry_out(arguments: Sequence[str], work: Callable[[Job], dict[str, Any]]) -> int:
    """Do the job in the first argument and write its answer; returns the exit code."""
    job = Job.from_json(arguments[0])
    try:
        answer = work(job)
    except DepthError as error:
        answer = {'error': str(error)}
    except MemoryError:
        answer = {'error': 'it needs more memory than there is'}
    Path(job.answer).write_text(json.dumps(answer))
    return 0
