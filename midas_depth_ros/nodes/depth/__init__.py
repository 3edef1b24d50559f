"""depth_node: from a camera's messages to depth, heatmaps, closeness and metres."""
