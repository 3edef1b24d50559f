"""The ROS shell: messages, parameters, nodes. Wiring only, no arithmetic on pixels."""
