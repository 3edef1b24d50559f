"""`python -m midas_depth_ros.demo`."""

from typing import Any

from midas_depth_ros.commands.stopping import failures, run_guarded
from midas_depth_ros.demo.command import demo


def main() -> Any:
    """The command, with the errors that click's own `main` would leave to Python."""
    with failures():
        return demo.main(prog_name='demo', standalone_mode=False)


if __name__ == '__main__':
    run_guarded(main)
