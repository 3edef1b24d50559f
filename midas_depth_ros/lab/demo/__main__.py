"""`python -m midas_depth_ros.lab.demo`."""

import functools

from midas_depth_ros.cli.demo import demo
from midas_depth_ros.lab.stopping import run_command

if __name__ == '__main__':
    run_command(functools.partial(demo.main, prog_name='demo', standalone_mode=False))
