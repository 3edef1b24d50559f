"""Closed loops: the robot drives through worlds, with avoidance and without, and is judged."""
