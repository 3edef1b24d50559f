"""Scenes of a few solids as data, and the simple renderer that draws them quickly."""
