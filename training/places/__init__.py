"""The places that the embedded model is trained and measured in: rooms, streets, heaps of things.

`sample(seed)` draws a place and what a camera sees of it. They are drawn as the furnished room of
`midas_depth_ros.sim.furnished` is, and share its furniture.
"""

from training.places.samples import PLACES, Sample, sample

__all__ = ['PLACES', 'Sample', 'sample']
