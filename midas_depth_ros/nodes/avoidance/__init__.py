"""avoidance_node: between a robot's commands and its wheels."""
