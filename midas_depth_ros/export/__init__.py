"""What `midas_depth export` does: model files for robots, precisions for this machine."""
