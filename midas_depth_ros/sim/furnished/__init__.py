"""A furnished room, drawn with textures, shadows and reflections, and what it is made of."""
