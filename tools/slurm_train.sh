#!/usr/bin/env bash
# Trains on a Slurm cluster, one task per GPU.
#
#   GPUS=16 GPUS_PER_NODE=8 tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of train.py]
#
# GPUS (8), GPUS_PER_NODE (8 or GPUS), CPUS_PER_TASK (5), SRUN_ARGS and PYTHON may be set.
# With GPUS_PER_NODE=0 it trains on CPUs over gloo, GPUS tasks on one node.
set -euo pipefail
if [[ $# -lt 3 ]]; then
    echo "usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of train.py]" >&2
    exit 2
fi
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
resources=(--ntasks "$gpus" --ntasks-per-node "$((gpus_per_node > 0 ? gpus_per_node : gpus))")
if ((gpus_per_node > 0)); then
    resources+=(--gres "gpu:$gpus_per_node")
fi
# Jobs that share a node need ports of their own; all tasks inherit this one.
export MASTER_PORT=${MASTER_PORT:-$((20000 + RANDOM % 20000))}
# The first host is known only within the job.
# shellcheck disable=SC2016
command='export MASTER_ADDR=${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_NODELIST" | head -n1)}
exec "$@"'
# shellcheck disable=SC2086
exec srun --partition "$1" --job-name "$2" "${resources[@]}" \
    --cpus-per-task "${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    bash -c "$command" bash "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$3" \
    --launcher slurm "${@:4}"
