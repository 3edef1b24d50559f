"""Runs a launch file as `ros2 launch FILE name:=value...` does; with --list shows its arguments.

A program of its own, so that launch's logging and signal handlers stay out of the tests' process.
"""

import json
import sys

from launch import LaunchContext, LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.utilities import perform_substitutions


def listed(source: PythonLaunchDescriptionSource) -> str:
    """The arguments of a launch file and of those that it includes, as JSON."""
    context = LaunchContext()
    arguments = {
        argument.name: {
            'description': argument.description,
            'default': None
            if argument.default_value is None
            else perform_substitutions(context, argument.default_value),
        }
        for argument in source.get_launch_description(context).get_launch_arguments()
    }
    return json.dumps(arguments)


def main(path: str, *words: str) -> int:
    """Run or list; returns the exit code."""
    source = PythonLaunchDescriptionSource(path)
    if '--list' in words:
        sys.stdout.write(listed(source))
        return 0
    arguments = [tuple(word.split(':=', 1)) for word in words]
    include = IncludeLaunchDescription(source, launch_arguments=arguments)
    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription([include]))
    return service.run()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
