"""depth_node's work on a recording, bag to bag, without DDS."""
