"""Furnished places, drawn with textures, shadows and reflections."""
