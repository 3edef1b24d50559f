"""What drives and what it collides with: a robot, a world from above, plain worlds."""
