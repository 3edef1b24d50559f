"""Installs the package for pip and for colcon (ament_python)."""

from glob import glob

from setuptools import find_packages, setup

NAME = 'midas_depth_ros'

setup(
    name=NAME,
    version='0.1.0',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={
        NAME: ['py.typed', 'assets/*', 'assets/*/*.jpg', 'web/static/*', 'lab/evaluate/*.css']
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', glob('launch/*.launch.py')),
        (f'share/{NAME}/config', [*glob('config/*'), *glob(f'{NAME}/assets/*.xml')]),
    ],
    python_requires='>=3.10',
    install_requires=[
        'numpy',
        'pillow',
        'pyyaml',
        'click',
        'rich',
        'tqdm',
        'requests',
        'filelock',
        'platformdirs',
        'rosbags',
        'av',
        'opencv-python-headless',
        'openvino',
        'matplotlib',
        'fastapi>=0.100',
        'uvicorn>=0.22',
        'python-multipart',
        'websockets',
    ],
    extras_require={
        'openvino': ['openvino'],
        'onnxruntime': ['onnxruntime'],
        'torch': ['torch', 'torchvision', 'timm'],
        # For `midas_depth export --precision int8`.
        'int8': ['openvino', 'nncf'],
        # Photos from phones: HEIC, AVIF.
        'heif': ['pillow-heif'],
        # Makes `colcon test` use pytest.
        'test': ['pytest', 'pytest-timeout', 'hypothesis'],
    },
    zip_safe=False,
    maintainer='midas_depth_ros maintainers',
    maintainer_email='maintainers@users.noreply.h-seed-52b5790e.example',
    description='Monocular depth for robots without a GPU: MiDaS_small on the CPU for ROS 2',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'avoidance_node = midas_depth_ros.start:avoidance_node',
            'dashboard = midas_depth_ros.start:dashboard',
            'depth_node = midas_depth_ros.start:depth_node',
            'image_stream = midas_depth_ros.start:image_stream',
            'obstacle_distance_node = midas_depth_ros.start:obstacle_distance_node',
            'synthetic_camera = midas_depth_ros.start:synthetic_camera',
            'midas_depth = midas_depth_ros.start:midas_depth',
        ],
    },
)
