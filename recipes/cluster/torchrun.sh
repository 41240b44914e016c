#!/bin/bash
# Train a recipe on N nodes with torchrun. Run the same line on each node:
#
#   NODES=2 GPUS=8 HEAD=first-node:29500 recipes/cluster/torchrun.sh recipes/cluster/diffusion.yaml
#
# When a process fails, all are started again (RESTARTS times), and go on from the last checkpoint.
# run_dir must lie on a file system that all nodes share.
set -eu
: "${NODES:=1}" "${GPUS:=1}" "${HEAD:=localhost:29500}" "${RESTARTS:=3}" "${RUN_ID:=audiogen}"

# SIGUSR1 too is passed on to the processes, which have 30 s to write a checkpoint.
signals=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}

exec python -m torch.distributed.run \
    --nnodes "$NODES" --nproc-per-node "$GPUS" --max-restarts "$RESTARTS" \
    --signals-to-handle "$signals" \
    --rdzv-backend c10d --rdzv-endpoint "$HEAD" --rdzv-id "$RUN_ID" \
    -m audiogen train "$@"
