"""What a person starts on pictures, videos and bags: `midas_depth image`, `video` and `bag`.

Each command's module holds its options and how it ends; the work is done in the other rooms. What
a command needs is imported when it runs. `image` and `video` need no ROS.
"""
