# What the shell of a trial does around its program, without a process more:
#   . trial.sh FOLDER TOLD METRICS LOG RETRIES PRODUCT...; trial_begins
#   if PROGRAM; then trial_ended 0; else trial_ended $?; fi
# TOLD is the beginning of the status line, $attempt (if set) what Snakemake counts from 1. Bash 3.2 and later.
#
# A program that ends by itself and fails, on its last attempt, is a result: the study goes on.
# Killed by a signal, or not started at all (status 125 and more), it is none: the job fails. An
# attempt that was killed is no attempt either, so failures are counted here, a line for each.
# Snakemake knows status and metrics only, so what an earlier run made besides is removed here.
_folder=$1 _told=$2 _metrics=$1/$3 _log=$4 _retries=$5 _failures=$1/attempts.txt
shift 5
_products=("$@")

# Where there is nothing to remove no process is started, and three of them took half of what a trial took here.
_gone() { if [ -e "$1" ] || [ -L "$1" ]; then rm -rf "$1"; fi; }

# An attempt of just this trial is gone on with, and so are its reports; others begin with none.
trial_begins() { _gone "$_folder/reports.txt"; }

_remove() {
  for _product in ${_products[@]+"${_products[@]}"}; do _gone "${_folder:?}/${_product%/}"; done
}

# Snakemake expects the metrics of every trial: of one that has none something empty.
_end() {
  _gone "$_failures"
  case $_metrics in
    */) mkdir -p "$_metrics" ;;
    *) [ -e "$_metrics" ] || : > "$_metrics" ;;
  esac
  printf '{%s,"state":"%s","status":%d}\n' "$_told" "$1" "$2" > "$_folder/status.json"
}

# Take over what is in another folder, made from just the same.
trial_takes() {
  [ ! -e "$1/reports.txt" ] || cp "$1/reports.txt" "$_folder/reports.txt"
  for _product in "${_metrics#"$_folder"/}" ${_products[@]+"${_products[@]}"}; do
    _product=${_product%/}
    if [ -d "$1/$_product" ] && [ -n "$_product" ]; then
      cp -R "$1/$_product" "$_folder/$_product"
    elif [ -n "$_product" ]; then
      ln -f "$1/$_product" "$_folder/$_product" 2> /dev/null || cp "$1/$_product" "$_folder/$_product"
    fi
  done
}

trial_ended() {
  if [ "$1" -ge 125 ]; then
    exit "$1"
  elif [ "$1" -gt 0 ] && [ "$_retries" -gt 0 ]; then
    echo "exit status $1" >> "$_failures"
    [ "${attempt:-1}" -gt "$_retries" ] || exit "$1"
    if [ "$(wc -l < "$_failures")" -le "$_retries" ]; then
      echo "an earlier attempt was killed, so nothing is known of this trial: run again" | tee -a "$_log" >&2
      exit "$1"
    fi
  fi
  if [ "$1" -gt 0 ]; then
    _remove
    rm -rf "${_metrics%/}"
    _end failed "$1"
  elif [ -e "$_folder/reports.txt" ] && [ "$(tail -n 1 "$_folder/reports.txt")" = pruned ]; then
    _remove
    _end pruned 0
  elif [ ! -e "$_metrics" ]; then
    echo "the program has not written $_metrics" | tee -a "$_log" >&2
    exit 125
  else
    for _product in ${_products[@]+"${_products[@]}"}; do
      if [ ! -e "$_folder/$_product" ]; then
        echo "the program has not written $_folder/$_product" | tee -a "$_log" >&2
        exit 125
      fi
    done
    _end complete 0
  fi
}

_remove
[ "${attempt:-1}" -gt 1 ] || _gone "$_failures"
for _product in "${_metrics#"$_folder"/}" ${_products[@]+"${_products[@]}"}; do
  _product=$_folder/${_product%/}
  [ -d "${_product%/*}" ] || mkdir -p "${_product%/*}"
done
