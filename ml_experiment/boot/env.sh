# What makes a program's result its own, whatever machine and user it runs for. Sourced by a job:
#   . env.sh THREADS HASHSEED [FOLDER-OF-PYTHON]
# Threads are those that the step declares: with fewer cores a job is slower, not different.
# Without that folder, on a node that does not see it, another Python would be found in silence.
_boot=${BASH_SOURCE[0]%/*}

export OMP_NUM_THREADS=$1 OPENBLAS_NUM_THREADS=$1 MKL_NUM_THREADS=$1 BLIS_NUM_THREADS=$1
export VECLIB_MAXIMUM_THREADS=$1 NUMEXPR_NUM_THREADS=$1 NUMBA_NUM_THREADS=$1
export POLARS_MAX_THREADS=$1 RAYON_NUM_THREADS=$1 JULIA_NUM_THREADS=$1
export TF_NUM_INTRAOP_THREADS=$1 TF_NUM_INTEROP_THREADS=1
export LOKY_MAX_CPU_COUNT=$1 PYTHON_CPU_COUNT=$1
export OMP_DYNAMIC=FALSE MKL_DYNAMIC=FALSE

export CUBLAS_WORKSPACE_CONFIG=:4096:8 TF_DETERMINISTIC_OPS=1 TF_CUDNN_DETERMINISTIC=1
export XLA_FLAGS="${XLA_FLAGS:+$XLA_FLAGS }--xla_gpu_deterministic_ops=true"

export TZ=UTC LC_ALL=C.UTF-8
export SOURCE_DATE_EPOCH=315532800 # 1980-01-01, the first day that a ZIP file can name

export PYTHONHASHSEED=$2 # one for the whole experiment, so that a warm server can serve every job
export PYTHONPATH="$_boot${PYTHONPATH:+:$PYTHONPATH}"
export ML_EXPERIMENT_R_PROFILE_USER="${R_PROFILE_USER:-}" R_PROFILE_USER="$_boot/Rprofile"
if [ -n "${3:-}" ]; then
  if [ ! -d "$3" ] || { [ -L "$3/python" ] && [ ! -x "$3/python" ]; }; then
    echo "ml-experiment: the environment of this job is not on $(uname -n): no Python in $3" >&2
    return 126 # a trial that has not begun is no result
  fi
  export PATH="$3:$PATH"
fi
if [ -n "${ML_EXPERIMENT_WARM:-}" ]; then . "$_boot/warm.sh"; fi # see there
unset _boot
