#!/usr/bin/env bash
# The cars in metric units, as CSV: litres per 100 km, tonnes, kilowatts.
set -euo pipefail

awk '
  NR == 1 { print "model,consumption,weight,power"; next }
  { printf "%s,%.3f,%.4f,%.2f\n", $1, 235.214583 / $2, $7 * 0.45359237, $5 * 0.73549875 }
' "$1"
