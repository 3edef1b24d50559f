"""The demonstration: the real node and a camera as processes of their own, watched and reported."""
