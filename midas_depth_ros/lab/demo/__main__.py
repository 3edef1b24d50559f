"""`python -m midas_depth_ros.lab.demo`."""

import functools

from midas_depth_ros.cli.demo import demo
from midas_depth_ros.lab.stopping import failing, run_guarded

if __name__ == '__main__':
    call = functools.partial(demo.main, prog_name='demo', standalone_mode=False)
    run_guarded(functools.partial(failing, call))
