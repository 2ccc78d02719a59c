# env.sh in a container that Snakemake has started, by the rule's `container:`. Sourced by a job:
#   . apptainer.sh THREADS HASHSEED
# Without `--sdm apptainer` Snakemake passes that over, and the job would run on this machine under the
# image's name: status 125, as of a container that could not start.
if [ -z "${APPTAINER_CONTAINER:-${SINGULARITY_CONTAINER:-}}" ]; then
  echo "not in a container: with runtime: apptainer Snakemake needs --sdm apptainer" >&2
  exit 125
fi
unset ML_EXPERIMENT_WARM ML_EXPERIMENT_BASH_ENV BASH_ENV # servers and files of this machine
. "${BASH_SOURCE[0]%/*}/env.sh" "$1" "$2"
