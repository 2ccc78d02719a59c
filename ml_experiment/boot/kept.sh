# The client of kept containers (kept.py): a function `_kept` for the shell of a job, sourced by
# docker.sh where ML_EXPERIMENT_WARM names a folder that an executor keeps for its run.
#
# FOLDER/kept/SETTING/N is one container, which one job has at a time: SETTING is everything that
# `docker run` is told. One that waits has a file `idle`, and whoever renames that has the container.

# Run a job in a kept container and set `status` to its exit status. Fails where it has to start cold,
# before anything of it has begun: FOLDER/reasons then says why.
# Of the caller: image threads hashseed place options names; the arguments are the job's words.
_kept() {
  local me=$BASHPID real out='' err='' slot='' talk listen answer='' name
  real=$(pwd -P)
  { read -r out && read -r err; } < <(readlink "/proc/$me/fd/1" "/proc/$me/fd/2") || :
  _kept_stream out && _kept_stream err || return 1
  _kept_slot || return 1
  mkfifo "$slot/$me.reply" || return 1
  exec {talk}<> "$slot/$me.reply" {listen}< "$slot/$me.reply" # for both first: neither waits then
  until [ -p "$slot/requests" ] || [ -e "$slot/ended" ]; do read -r -t 0.01 -u "$talk" || :; done
  {
    printf '%s\0' "$place" "$out" "$err" $(($# + 4)) "$_boot/env.sh" "$threads" "$hashseed" "$(umask)" "$@"
    for name in "${names[@]}"; do
      if [ -n "${!name+x}" ]; then printf '%s=%s\0' "$name" "${!name}"; fi
    done
  } > "$slot/$me.job"
  if [ -p "$slot/requests" ]; then echo "$me" 1<> "$slot/requests"; fi
  until read -r -t 1 -u "$listen" answer || [ -e "$slot/ended" ]; do :; done
  exec {talk}>&- # from now on the container's end is the end of the file
  status=''
  until [ -z "$answer" ] || read -r -t 60 -u "$listen" status || [ $? -le 128 ]; do :; done
  exec {listen}<&-
  if [ -z "$answer" ]; then # it has ended, and taken nothing
    rm -f "$slot/$me.reply" "$slot/$me.job"
    _kept_note "no container could be kept: $(tail -n 1 "$slot/log")"
    return 1
  fi
  if [ -z "$status" ]; then
    echo "ml-experiment: the container of this job has ended" >&2
    until [ -s "$slot/ended" ]; do sleep 0.1; done
    status=$(< "$slot/ended")
    if [ "$status" -lt 125 ]; then status=125; fi
  fi
}

# The path of a stream in the container, where it is the file that it is here.
_kept_stream() {
  local -n path=$1
  case $path in
    /dev/null) ;;
    "$real"/*) path=$place/${path#"$real"/} ;;
    *) path='' ;;
  esac
  if [ -n "$path" ] && { [ "$path" = /dev/null ] || [ -f "$path" ]; }; then return; fi
  _kept_note "its output goes to no file in the workspace"
  return 1
}

# Set `slot` to the folder of a container that waits, or of one that is started now.
_kept_slot() {
  local folder idle learned
  folder=$(printf '%s\0' "$image" "$threads" "${options[@]}" | sha256sum)
  folder=$ML_EXPERIMENT_WARM/kept/${folder:0:16}
  for idle in "$folder"/*/idle; do
    if [ -e "$idle" ] && mv "$idle" "${idle%idle}taken" 2> /dev/null; then
      slot=${idle%/idle}
      return
    fi
  done
  slot=$folder/$me
  learned=$(readlink -f "$ML_EXPERIMENT_WARM/learned")
  : >> "$ML_EXPERIMENT_WARM/reasons"
  mkdir -p "$folder" && mkdir "$slot" || return 1 # the number of a process may come again
  ln -s "$learned" "$slot/learned" \
    && ln "$ML_EXPERIMENT_WARM/alive" "$ML_EXPERIMENT_WARM/reasons" "$slot" \
    || { rm -rf "$slot" && return 1; }
  setsid bash -c 'slot=$1; shift; docker "$@"; echo $? > "$slot/ended"; rm -f "$slot/idle"' \
    bash "$slot" run "${options[@]}" \
    --mount "type=bind,\"source=$slot\",target=/run/ml-experiment" \
    --mount "type=bind,\"source=$learned\",\"target=$learned\"" \
    --entrypoint bash "$image" \
    -c 'python=$(type -P python || type -P python3) || { echo "there is no Python in its image"; exit 127; }
      exec "$python" -I -S "$0" /run/ml-experiment' "$_boot/kept.py" \
    < /dev/null > "$slot/log" 2>&1 &
  disown
}

_kept_note() {
  echo "$1" >> "$ML_EXPERIMENT_WARM/reasons"
}
