#!/usr/bin/env bash
# Tunes a study on this machine:  launch/local.sh STUDY.yaml [KEY=VALUE ...]
# Without RAY_ADDRESS the command starts Ray here, on loopback, and Ray ends with it.
set -euo pipefail
unset RAY_ADDRESS
exec supercm-ray tune "$@"
