# The client of warm servers (warm.py): a function `python` for the shell that runs a step's command.
# Sourced by env.sh, and as BASH_ENV by the bash that env.sh's job starts, where ML_EXPERIMENT_WARM
# names a folder that an executor keeps for its run. Linux, bash 4.1 and later.
#
# What is not `python SCRIPT.py ...`, what nothing is known of, and what a server will not fork runs
# as if this file was not there. A server says in FOLDER/reasons why it declines.
if [ -n "${_boot:-}" ]; then
  export ML_EXPERIMENT_BASH_ENV=${BASH_ENV:-} BASH_ENV=$_boot/warm.sh
else # the programs of this shell get the environment that they would have without us
  _warm=$ML_EXPERIMENT_WARM _before=$ML_EXPERIMENT_BASH_ENV
  unset ML_EXPERIMENT_WARM ML_EXPERIMENT_BASH_ENV BASH_ENV
  if [ -n "$_before" ]; then
    export BASH_ENV=$_before
    if [ -r "$_before" ]; then . "$_before"; fi
  fi
  ML_EXPERIMENT_WARM=$_warm # of this shell alone
  unset _warm _before
fi
_warm_boot=${BASH_SOURCE[0]%/*}

python() { _warm_python python "$@"; }
python3() { _warm_python python3 "$@"; }

_warm_python() {
  local server=''
  if [[ ${2:-} == *.py ]]; then _warm_server "$1"; fi
  if [ -z "$server" ]; then
    command "$@"
  elif [[ $server == *.json ]]; then # the first of its kind tells what it has imported
    ML_EXPERIMENT_LEARN=$server command "$@"
  else
    _warm_ask "$server" "$@"
  fi
}

# Start the server that programs of this kind will ask, if it is known what they import: see launch.py.
warm_up() {
  local server=''
  _warm_server "$1"
}

# Set `server` to the folder of the program's server, which is started if it is not there yet; to the
# list of imports that is to be made first; or to nothing.
_warm_server() {
  local code list path='' folders=$PATH: folder
  if ! [[ ${ML_EXPERIMENT_BOOT:-} =~ '"warm":"'([0-9a-f]+)'"' ]]; then return; fi
  code=${BASH_REMATCH[1]}
  list=$ML_EXPERIMENT_WARM/learned/$code.json
  if [ ! -e "$list" ]; then
    server=$list
    return
  fi
  while [[ -z $path && -n $folders ]]; do # as `type -P`, which would take a process
    folder=${folders%%:*} folders=${folders#*:}
    if [[ -f ${folder:-.}/$1 && -x ${folder:-.}/$1 ]]; then path=${folder:-.}/$1; fi
  done
  server=$ML_EXPERIMENT_WARM/$code-$OMP_NUM_THREADS${path//\//+}
  if [ ! -d "$server" ] && mkdir "$server" 2> /dev/null; then
    setsid "$path" "$_warm_boot/warm.py" "$server" "$list" < /dev/null > "$server/log" 2>&1 &
    echo $! > "$server/pid.tmp" && mv "$server/pid.tmp" "$server/pid"
    disown
  fi
}

# Hand the program over and end as it ends; where the server declines, run it here.
_warm_ask() {
  local server=$1 reply=$1/$BASHPID child='' status='' signal traps talk listen
  shift
  if [ -e "$server/cold" ] || ! mkfifo "$reply"; then
    command "$@"
    return
  fi
  exec {talk}<> "$reply" {listen}< "$reply" # for both first: neither waits for the server then
  until [ -p "$server/requests" ]; do # it is importing
    read -r -t 0.05 -u "$talk" child || :
    if [ -e "$server/pid" ] && ! kill -0 "$(< "$server/pid")" 2> /dev/null; then
      exec {talk}>&- {listen}<&-
      rm -f "$reply"
      command "$@"
      return
    fi
  done
  { printf '%s\0' "$#" "$PWD" "$talk" "$listen" "$@" && env -0; } > "$reply.job"
  { trap -p TERM INT HUP && printf '\0'; } >&"$talk" # through the FIFO: a process less
  IFS= read -r -d '' -u "$listen" traps
  for signal in TERM INT HUP; do
    trap '[ -z "$child" ] || kill -'"$signal"' -- "-$child" 2> /dev/null' "$signal"
  done
  # Last, for the server looks at once at what is open here; and in a shell of its own, for the
  # redirection must not be this one's standard output even for a moment.
  (echo "${reply##*/}" 1<> "$server/requests")
  until read -r -t 1 -u "$listen" child; do
    if ! kill -0 "$(< "$server/pid")" 2> /dev/null; then child=cold; fi
    if [ -n "$child" ]; then break; fi
  done
  exec {talk}>&- # from now on the server's end is the end of the file
  until [ "$child" = cold ] || read -r -t 60 -u "$listen" status || [ $? -le 128 ]; do :; done
  exec {listen}<&-
  trap - TERM INT HUP
  eval "$traps"
  if [ -e "$reply" ]; then rm -f "$reply" "$reply.job"; fi # the server has not taken it
  if [ "$child" = cold ]; then
    command "$@"
    return
  fi
  if [ -z "$status" ]; then
    echo "ml-experiment: the warm server of this program has ended" >&2
    tail -n 20 "$server/log" >&2 || :
    return 125
  fi
  return "$status"
}
