"""`python -m midas_depth_ros`: the command `midas_depth`."""

from midas_depth_ros.start import midas_depth

if __name__ == '__main__':
    midas_depth()
