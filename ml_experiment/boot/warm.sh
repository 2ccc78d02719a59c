# The client of warm servers (warm.py): a function `python` for the shell that runs a step's command.
# Sourced by env.sh, and as BASH_ENV by the bash that env.sh's job starts, where ML_EXPERIMENT_WARM
# names a folder that an executor keeps for its run. Linux, bash 4.1 and later.
#
# What is not `python SCRIPT.py ...`, what nothing is known of, and what a server will not fork runs
# as if this file was not there. A server says in FOLDER/reasons why it declines. Names begin with
# _warm: a local variable of a name that is exported is exported too, and programs would see it.
if [ -n "${_boot:-}" ]; then
  export ML_EXPERIMENT_BASH_ENV=${BASH_ENV:-} BASH_ENV=$_boot/warm.sh
else # the programs of this shell get the environment that they would have without us
  _warm=$ML_EXPERIMENT_WARM _warm_before=$ML_EXPERIMENT_BASH_ENV
  unset ML_EXPERIMENT_WARM ML_EXPERIMENT_BASH_ENV BASH_ENV
  if [ -n "$_warm_before" ]; then
    export BASH_ENV=$_warm_before
    if [ -r "$_warm_before" ]; then . "$_warm_before"; fi
  fi
  ML_EXPERIMENT_WARM=$_warm # of this shell alone
  unset _warm _warm_before
fi
_warm_boot=${BASH_SOURCE[0]%/*}

python() { _warm_python python "$@"; }
python3() { _warm_python python3 "$@"; }

_warm_python() {
  local _warm_server=''
  if [[ ${2:-} == *.py ]]; then _warm_server "$1"; fi
  if [ -z "$_warm_server" ]; then
    command "$@"
  elif [[ $_warm_server == *.json ]]; then # the first of its kind tells what it has imported
    ML_EXPERIMENT_LEARN=$_warm_server command "$@"
  else
    _warm_ask "$_warm_server" "$@"
  fi
}

# Start the server that programs of this kind will ask, if it is known what they import: see launch.py.
warm_up() {
  local _warm_server=''
  _warm_server "$1"
}

# Set `server` to the folder of the program's server, which is started if it is not there yet; to the
# list of imports that is to be made first; or to nothing.
_warm_server() {
  local _warm_code _warm_list _warm_path='' _warm_folders=$PATH: _warm_folder
  if ! [[ ${ML_EXPERIMENT_BOOT:-} =~ '"warm":"'([0-9a-f]+)'"' ]]; then return; fi
  _warm_code=${BASH_REMATCH[1]}
  _warm_list=$ML_EXPERIMENT_WARM/learned/$_warm_code.json
  if [ ! -e "$_warm_list" ]; then
    _warm_server=$_warm_list
    return
  fi
  while [[ -z $_warm_path && -n $_warm_folders ]]; do # as `type -P`, which would take a process
    _warm_folder=${_warm_folders%%:*} _warm_folders=${_warm_folders#*:}
    if [[ -f ${_warm_folder:-.}/$1 && -x ${_warm_folder:-.}/$1 ]]; then
      _warm_path=${_warm_folder:-.}/$1
    fi
  done
  _warm_server=$ML_EXPERIMENT_WARM/$_warm_code-${OMP_NUM_THREADS-}${_warm_path//\//+}
  if [ ! -d "$_warm_server" ] && mkdir "$_warm_server" 2> /dev/null; then
    setsid "$_warm_path" "$_warm_boot/warm.py" "$_warm_server" "$_warm_list" \
      < /dev/null > "$_warm_server/log" 2>&1 &
    echo $! > "$_warm_server/pid.tmp" && mv "$_warm_server/pid.tmp" "$_warm_server/pid"
    disown
  fi
}

# Hand the program over and end as it ends; where the server declines, run it here.
_warm_ask() {
  local _warm_server=$1 _warm_reply=$1/$BASHPID _warm_child='' _warm_status='' _warm_rounds=0
  local _warm_signal _warm_traps _warm_talk _warm_listen
  shift
  if [ -e "$_warm_server/cold" ] || ! mkfifo "$_warm_reply"; then
    command "$@"
    return
  fi
  # For both first: neither waits for the server then.
  exec {_warm_talk}<> "$_warm_reply" {_warm_listen}< "$_warm_reply"
  until [ -p "$_warm_server/requests" ]; do # it is importing
    read -r -t 0.05 -u "$_warm_talk" _warm_child || :
    if [ ! -e "$_warm_server/pid" ]; then # its shell has been killed, or has no room to write
      _warm_rounds=$((_warm_rounds + 1))
      if [ "$_warm_rounds" -gt 100 ]; then _warm_child=cold; fi
    elif ! kill -0 "$(< "$_warm_server/pid")" 2> /dev/null; then
      _warm_child=cold
    fi
    if [ "$_warm_child" = cold ]; then
      exec {_warm_talk}>&- {_warm_listen}<&-
      rm -f "$_warm_reply"
      command "$@"
      return
    fi
  done
  { printf '%s\0' "$#" "$PWD" "$_warm_talk" "$_warm_listen" "$@" && env -0; } > "$_warm_reply.job"
  { trap -p TERM INT HUP && printf '\0'; } >&"$_warm_talk" # through the FIFO: a process less
  IFS= read -r -d '' -u "$_warm_listen" _warm_traps
  for _warm_signal in TERM INT HUP; do
    case $_warm_traps in *"trap -- '' SIG$_warm_signal"*) continue ;; esac # which it ignores
    trap '[ -z "$_warm_child" ] || kill -'"$_warm_signal"' -- "-$_warm_child" 2> /dev/null' "$_warm_signal"
  done
  # Last, for the server looks at once at what is open here; and in a shell of its own, for the
  # redirection must not be this one's standard output even for a moment.
  (echo "${_warm_reply##*/}" 1<> "$_warm_server/requests")
  until read -r -t 1 -u "$_warm_listen" _warm_child; do
    if ! kill -0 "$(< "$_warm_server/pid")" 2> /dev/null; then _warm_child=cold; fi
    if [ -n "$_warm_child" ]; then break; fi
  done
  exec {_warm_talk}>&- # from now on the server's end is the end of the file
  until [ "$_warm_child" = cold ] || read -r -t 60 -u "$_warm_listen" _warm_status || [ $? -le 128 ]; do :; done
  exec {_warm_listen}<&-
  trap - TERM INT HUP
  eval "$_warm_traps"
  if [ -e "$_warm_reply" ]; then rm -f "$_warm_reply" "$_warm_reply.job"; fi # the server has not taken it
  if [ "$_warm_child" = cold ]; then
    command "$@"
    return
  fi
  if [ -z "$_warm_status" ]; then
    echo "ml-experiment: the warm server of this program has ended" >&2
    tail -n 20 "$_warm_server/log" >&2 || :
    return 125
  fi
  return "$_warm_status"
}
