# env.sh in what Snakemake has made ready: a container, an environment of conda, loaded modules. Sourced by a job:
#   . deployed.sh METHOD THREADS HASHSEED LIST-OF-MODULES
# Without `--sdm METHOD` Snakemake passes the rule's directive over, and the job would run on the bare
# machine under the environment's name: status 125, as of a container that could not start.
case $1 in
  apptainer) _ready=${APPTAINER_CONTAINER:-${SINGULARITY_CONTAINER:-}} ;;
  conda) # Snakemake writes this file beside an environment that it has made
    _ready=
    if [ -e "${CONDA_PREFIX:-/nowhere}.env_setup_done" ]; then _ready=1; fi
    ;;
  env-modules) # others may be loaded as well; `R/4.3` may have loaded R/4.3.1
    _ready=${LOADEDMODULES:-}
    while read -r _module _ || [ -n "$_module" ]; do
      case :${LOADEDMODULES:-} in *":${_module%%#*}"*) ;; *) _ready= ;; esac
    done < "$4"
    unset _module
    ;;
esac
if [ -z "$_ready" ]; then
  echo "not in the step's environment: with runtime: $1 Snakemake needs --sdm $1" >&2
  exit 125
fi
unset _ready ML_EXPERIMENT_WARM ML_EXPERIMENT_BASH_ENV BASH_ENV # servers have this machine's Python
. "${BASH_SOURCE[0]%/*}/env.sh" "$2" "$3"
