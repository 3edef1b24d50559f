"""`python -m midas_depth_ros.demo`."""

import functools

from midas_depth_ros.commands.stopping import failing, run_guarded
from midas_depth_ros.demo.command import demo

if __name__ == '__main__':
    call = functools.partial(demo.main, prog_name='demo', standalone_mode=False)
    run_guarded(functools.partial(failing, call))
