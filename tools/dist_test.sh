#!/usr/bin/env bash
# Evaluates with several processes per machine: GPUs over nccl, or CPUs over gloo.
#
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of test.py]
#
# Several machines: as in dist_train.sh.
set -euo pipefail
if [[ $# -lt 3 || ! "$3" =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of test.py]" >&2
    exit 2
fi
exec "$(dirname "$0")/dist_run.sh" "$3" "$(dirname "$0")/test.py" "$1" "$2" "${@:4}"
