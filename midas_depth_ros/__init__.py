"""Monocular depth for robots without a GPU: MiDaS_small as a ROS 2 node.

The subpackages and what each may import are described in ARCHITECTURE.md.
"""

__version__ = '0.1.0'
