"""`python -m midas_depth_ros.demo`."""

from midas_depth_ros.demo.command import demo

if __name__ == '__main__':
    demo(prog_name='demo')
