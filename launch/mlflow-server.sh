#!/usr/bin/env bash
# MLflow for a team:  MLFLOW_BACKEND_STORE_URI=postgresql://USER@HOST/DATABASE launch/mlflow-server.sh [--host ADDRESS] [OPTION ...]
# Runs and users are kept in PostgreSQL, artifacts go through the server (--artifacts-destination FOLDER-OR-BUCKET),
# and whoever asks needs a name and a password. OPTION: those of `mlflow server`, such as --port or --allowed-hosts.
# Needs: pip install 'supercm-ray[server]'. No password is on a command line:
#   of PostgreSQL    PGPASSWORD, or ~/.pgpass (mode 600)
#   of MLflow        MLFLOW_AUTH_ADMIN_PASSWORD, or a file of mode 600 that MLFLOW_AUTH_ADMIN_PASSWORD_FILE names: the
#                    first start makes the user `admin` with it (12 characters or more), later ones do not need it
# MLFLOW_SERVER_STATE is the folder of what this server keeps for itself, by default ~/.local/state/mlflow-server.
# Run on Debian 12 with PostgreSQL 15: tests/launch/test_mlflow_server.py.
set -euo pipefail
umask 077

refuse() { echo "error: $1" >&2; exit 2; }

store=${MLFLOW_BACKEND_STORE_URI:-}
[[ $store == postgresql* ]] || refuse "MLFLOW_BACKEND_STORE_URI must name a PostgreSQL, such as postgresql://mlflow@db/mlflow"
[[ $store != *://*:*@* && $store != *password=* ]] ||
    refuse "MLFLOW_BACKEND_STORE_URI must hold no password; put it into PGPASSWORD or ~/.pgpass"
python3 -c 'import flask_wtf, psycopg' 2>/dev/null || refuse "packages are missing; pip install 'supercm-ray[server]'"

export MLFLOW_BACKEND_STORE_URI=${store/#postgresql:/postgresql+psycopg:} # the driver that is installed with it

password_file=${MLFLOW_AUTH_ADMIN_PASSWORD_FILE:-}
if [[ $password_file ]]; then
    [[ $(stat -L -c %a "$password_file") =~ ^[46]00$ ]] ||
        refuse "$password_file must be readable by its owner alone; chmod 600 $password_file"
    MLFLOW_AUTH_ADMIN_PASSWORD=$(<"$password_file")
    export MLFLOW_AUTH_ADMIN_PASSWORD
fi

host=127.0.0.1
for ((i = 1; i <= $#; i++)); do
    case ${!i} in
        --host | -h) next=$((i + 1)) && host=${!next:-} ;;
        --host=*) host=${!i#*=} ;;
    esac
done
if [[ $host != 127.* && $host != localhost && $host != ::1 ]]; then
    echo "warning: this server listens on $host and passwords reach it unencrypted: let none but your network in," \
        "or put a proxy with TLS before it" >&2
fi

state=${MLFLOW_SERVER_STATE:-$HOME/.local/state/mlflow-server}
mkdir -p "$state"
[[ -s $state/secret-key ]] || python3 -c 'import secrets; print(secrets.token_hex(32))' >"$state/secret-key"
MLFLOW_FLASK_SERVER_SECRET_KEY=$(<"$state/secret-key") # signs forms; the same in all its processes
cat >"$state/basic_auth.ini" <<END
[mlflow]
database_uri = ${MLFLOW_BACKEND_STORE_URI//%/%%}
# who has a name may write to the team's experiments; MANAGE, to delete as well, is given to the maker of one
default_permission = EDIT
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
# without it every request costs a password check of a tenth of a second
auth_cache_ttl_seconds = 60
END
export MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_AUTH_CONFIG_PATH=$state/basic_auth.ini
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=${MLFLOW_SERVER_ENABLE_JOB_EXECUTION:-false} # services that no study uses
export MLFLOW_ARTIFACTS_DESTINATION=${MLFLOW_ARTIFACTS_DESTINATION:-$state/artifacts}

exec mlflow server --app-name basic-auth "$@"
