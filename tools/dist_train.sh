#!/usr/bin/env bash
# Trains with several processes per machine: GPUs over nccl, or CPUs over gloo.
#
#   tools/dist_train.sh CONFIG PROCESSES [options of train.py]
#
# On several machines, run it on each with NNODES, NODE_RANK and MASTER_ADDR set:
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh CONFIG 8
# PORT (29500 by default there; a free one on a single machine) and PYTHON may be set as well.
set -euo pipefail
if [[ $# -lt 2 || ! "$2" =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: tools/dist_train.sh CONFIG PROCESSES [options of train.py]" >&2
    exit 2
fi
exec "$(dirname "$0")/dist_run.sh" "$2" "$(dirname "$0")/train.py" "$1" "${@:3}"
