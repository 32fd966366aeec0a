#!/usr/bin/env bash
# Starts PROCESSES copies of a tool with torchrun; called by dist_train.sh and dist_test.sh.
#
#   tools/dist_run.sh PROCESSES TOOL.py ARGUMENTS
set -euo pipefail
processes=$1
shift
python=${PYTHON:-python}
# torchrun would give each process one thread, which wastes a CPU machine.
threads=$(($(getconf _NPROCESSORS_ONLN) / processes))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS} # mmengine warns where it is not set
if [[ ${NNODES:-1} -eq 1 && -z ${PORT:-} ]]; then
    where=(--standalone)
else
    where=(--nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}"
        --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}")
fi
exec "$python" -m torch.distributed.run "${where[@]}" --nproc-per-node "$processes" "$@" \
    --launcher pytorch
