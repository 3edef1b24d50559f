"""`python -m midas_depth_ros.web` is the console script `dashboard`."""

from midas_depth_ros.cli.dashboard import main

if __name__ == '__main__':
    main()
