# Sourced by the scripts: sets `python` to a supported interpreter. MIDAS_DEPTH_PYTHON overrides the
# search. If a ROS 2 is sourced, only its own python3 is considered.

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    local candidate
    local candidates=(python3 python3.12 python3.11 python3.10 python3.13)
    [ -z "${ROS_DISTRO:-}" ] || candidates=(python3)
    for candidate in ${MIDAS_DEPTH_PYTHON:-"${candidates[@]}"}; do
        if command -v "$candidate" >/dev/null && is_supported "$candidate"; then
            # The base interpreter, not that of an active venv, which may be the one to be rebuilt.
            python=$("$candidate" -c 'import sys; print(getattr(sys, "_base_executable", ""))')
            return
        fi
    done
    {
        echo "error: no Python 3.10 to 3.13 found (looked for: ${MIDAS_DEPTH_PYTHON:-${candidates[*]}})."
        echo "       Install one (Debian, Ubuntu: sudo apt install python3 python3-venv), or set:"
        echo "       MIDAS_DEPTH_PYTHON=/path/to/python3.12 $0"
    } >&2
    exit 1
}

find_python
