# How a job runs in a container: sourced by its shell, then
#   VARIABLE=... in_container IMAGE THREADS HASHSEED OPTION... -- PROGRAM WORD...
# OPTIONs are of `docker run`. Here are those that depend on where and for whom it runs: the user, the
# limit of processors, devices, labels by which what is left behind is found. Variables of ours go in
# by name, so that their values stand on no command line but this.
_boot=${BASH_SOURCE[0]%/*}

in_container() {
  local image=$1 threads=$2 hashseed=$3 name cpus total registry='' place=$PWD options names=() status
  shift 3
  read -r _ total _ < /proc/meminfo # half of it, as everywhere but in a container, where loaders of data fail
  cpus=$(getconf _NPROCESSORS_ONLN)
  if [ "$threads" -lt "$cpus" ]; then cpus=$threads; fi # the engine refuses more than there are
  options=(--rm --init --pull never --log-driver none
    --user "$EUID:${GROUPS[0]}" --security-opt no-new-privileges
    --label "ml-experiment.run=${ML_EXPERIMENT_CONTAINERS:-}"
    --label "ml-experiment.node=${ML_EXPERIMENT_NODE:-}"
    --cpus "$cpus" --mount "type=bind,\"source=$_boot\",\"target=$_boot\",readonly"
    --shm-size "$((total / 2))k"
    --env HOME=/tmp --env USER=user --env LOGNAME=user)
  for name in "${GROUPS[@]:1}"; do options+=(--group-add "$name"); done # data of a group can be read
  while [ "$1" != -- ]; do
    case $1 in
      --gpus) _devices ;;
      --workdir) place=$2 && options+=("$1" "$2") && shift ;; # PWD may have a link in it
      --registry) registry=$2 && shift ;;
      --env) names+=("$2") && shift ;;
      *) options+=("$1") ;;
    esac
    shift
  done
  shift
  options+=(--label "ml-experiment.workspace=$place")
  for name in $(compgen -e ML_EXPERIMENT_); do
    case $name in
      ML_EXPERIMENT_RUN | ML_EXPERIMENT_CONTAINERS | ML_EXPERIMENT_WARM | ML_EXPERIMENT_BASH_ENV) ;;
      *) names+=("$name") ;;
    esac
  done
  if ! type -P docker > /dev/null; then
    _cannot "there is no Docker on $(uname -n)"
    return
  fi
  if [ -n "${ML_EXPERIMENT_WARM:-}" ] && [[ ${ML_EXPERIMENT_BOOT:-} == *'"warm":"'* ]]; then
    . "$_boot/kept.sh"
    if _kept "$@"; then return "$status"; fi
  fi
  for name in "${names[@]}"; do options+=(--env "$name"); done
  options+=(--entrypoint bash "$image" -c 'umask "$3" && . "$0" "$1" "$2" && shift 3 && exec "$@"'
    "$_boot/env.sh" "$threads" "$hashseed" "$(umask)" "$@")
  if docker run "${options[@]}"; then
    return 0
  else
    _not_run $?
  fi
}

# Docker's own status is 125. A node may not have the image: then it fetches it, where a registry does.
_not_run() {
  if [ "$1" -ne 125 ] || docker image inspect "$image" > /dev/null 2>&1; then return "$1"; fi
  if ! docker version > /dev/null 2>&1; then
    _cannot "no Docker engine answers on $(uname -n), or not to this user"
  elif [ -z "$registry" ]; then
    _cannot "the Docker engine of $(uname -n) does not have the image, and no registry's digest is locked"
  elif ! docker pull --quiet "$registry" >&2; then
    _cannot "the Docker engine of $(uname -n) does not have the image and cannot fetch $registry"
  else
    docker run "${options[@]}"
  fi
}

_cannot() {
  echo "ml-experiment: $1; this job runs in $image and in no other. To do: start Docker there;" \
    "\`ml-experiment env export\` here and \`docker load\` there" >&2
  return 125 # a trial that has not begun is no result
}

# The devices that this job has been given, which are numbered anew in there; else all.
_devices() {
  case ${CUDA_VISIBLE_DEVICES-all} in
    all) options+=(--gpus all) ;;
    '' | -1 | NoDevFiles) ;;
    *) options+=(--gpus "\"device=$CUDA_VISIBLE_DEVICES\"") ;;
  esac
}
