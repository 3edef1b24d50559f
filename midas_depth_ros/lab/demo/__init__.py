"""The demonstration: the real node and a camera as processes of their own, watched and reported."""

WIDEST = 1280  # pixels of a source; of a photo of 12 megapixels a message would have 36 MB
