"""Makes the sample pictures that the dashboard offers, from our own procedural world.

    python3 benchmarks/dashboard_samples.py

Rendered with textures that the embedded model was not trained on.
"""

from pathlib import Path

from midas_depth_ros.images import encode_jpeg
from midas_depth_ros.sim import sample

FOLDER = Path(__file__).resolve().parents[1] / 'midas_depth_ros/web/static/samples'
SIZE = (640, 480)
QUALITY = 80
# name of the file -> kind of place and seed
SAMPLES = {
    'corridor': ('corridor', 101),
    'room': ('room', 104),
    'street': ('street', 101),
    'garden_path': ('street', 104),
}


def main() -> None:
    """Render and write them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (kind, seed) in SAMPLES.items():
        rgb = sample(seed, *SIZE, kind, 'eval').rgb
        path = FOLDER / f'{name}.jpg'
        path.write_bytes(encode_jpeg(rgb, QUALITY).tobytes())
        print(f'{path}: {path.stat().st_size} bytes')


if __name__ == '__main__':
    main()
