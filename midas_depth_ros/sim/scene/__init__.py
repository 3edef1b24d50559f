"""Scenes of a few solids as data, and a simple, fast renderer."""
