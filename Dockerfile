# Images of midas_depth_ros for robots without a GPU. docs/containers.md tells how to run them.
#
#   docker build -t midas_depth .                  Debian, ROS 2 from the Python package index
#   docker build -t midas_depth --target on_ros --build-arg BASE=ros:jazzy-ros-base .
#
# `scripts/container` builds and tries the first one, also where there is no Docker.
ARG BASE=debian:bookworm-slim

# --- All that is installed, in one folder.
FROM ${BASE} AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY requirements requirements
# TORCH=1: also the backend torch, 1.1 GB more where the index has PyTorch for the CPU.
ARG TORCH=0
RUN python3 -m venv /opt/midas_depth \
    && files="ros runtime"; [ "${TORCH}" = 0 ] || files="${files} torch"; \
    set --; for name in ${files}; do set -- "$@" -r "requirements/${name}.txt"; done; \
    /opt/midas_depth/bin/pip install --progress-bar off "$@"
COPY package.xml pyproject.toml setup.py setup.cfg README.md LICENSE ./
COPY resource resource
COPY launch launch
COPY config config
COPY midas_depth_ros midas_depth_ros
RUN /opt/midas_depth/bin/pip install --no-deps --no-build-isolation . \
    && /opt/midas_depth/bin/pip uninstall -y -q pip setuptools

# --- What a robot runs.
FROM ${BASE} AS robot
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 robot \
    && mkdir -p /weights && chmod 1777 /weights /home/robot
COPY --from=build /opt/midas_depth /opt/midas_depth
COPY container/entrypoint container/healthy.py /usr/local/bin/
ENV PATH=/opt/midas_depth/bin:${PATH} \
    HOME=/home/robot \
    MIDAS_DEPTH_WEIGHTS_DIR=/weights \
    PYTHONUNBUFFERED=1
USER robot
WORKDIR /home/robot
VOLUME /weights
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 CMD ["healthy.py"]
ENTRYPOINT ["tini", "-g", "--", "entrypoint"]
CMD ["demo"]

# --- The same on an installed ROS 2, with its messages, its cv_bridge and its middlewares.
FROM ${BASE} AS on_ros
SHELL ["/bin/bash", "-c"]
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY . /robot/src/midas_depth_ros
RUN apt-get update \
    && source "/opt/ros/${ROS_DISTRO}/setup.bash" \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3-pip python3-rosdep python3-colcon-common-extensions tini \
    && { [ -d /etc/ros/rosdep/sources.list.d ] || rosdep init; } \
    && rosdep update --rosdistro "${ROS_DISTRO}" \
    && DEBIAN_FRONTEND=noninteractive rosdep install --from-paths /robot/src --ignore-src -y \
    && pip3 install -r /robot/src/midas_depth_ros/requirements/beside_apt.txt \
    && rm -rf /var/lib/apt/lists/*
RUN source "/opt/ros/${ROS_DISTRO}/setup.bash" \
    && cd /robot && colcon build --merge-install --packages-select midas_depth_ros \
    && install -m 755 src/midas_depth_ros/container/entrypoint src/midas_depth_ros/container/healthy.py \
        /usr/local/bin/ \
    && { id -u 1000 > /dev/null 2>&1 || useradd --uid 1000 robot; } \
    && mkdir -p /weights /home/robot && chmod 1777 /weights /home/robot
ENV HOME=/home/robot MIDAS_DEPTH_WEIGHTS_DIR=/weights PYTHONUNBUFFERED=1
USER 1000
WORKDIR /home/robot
VOLUME /weights
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 CMD ["entrypoint", "healthy.py"]
ENTRYPOINT ["tini", "-g", "--", "entrypoint"]
CMD ["demo"]

# What a build without --target makes.
FROM robot
