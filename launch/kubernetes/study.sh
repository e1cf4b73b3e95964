#!/usr/bin/env bash
# A study on Kubernetes, by KubeRay, in the namespace of kubectl's context:
#   launch/kubernetes/study.sh start STUDY.yaml [KEY=VALUE ...]   starts it, or goes on with one that was ended or cancelled
#   launch/kubernetes/study.sh status STUDY.yaml                  shows it
#   launch/kubernetes/study.sh logs STUDY.yaml                    follows its output
#   launch/kubernetes/study.sh cancel STUDY.yaml                  ends it; its results stay
# It fills the study's name into rayjob.yaml beside it, or the file that SUPERCM_RAYJOB names, and calls kubectl.
# Run against a stand-in for kubectl (tests/launch/test_study_on_kubernetes.py); not on a Kubernetes where this was written.
set -euo pipefail

refuse() { echo "error: $1" >&2; exit 2; }

here=$(cd "$(dirname "$0")" && pwd)
(($# >= 2)) || refuse "say start, status, logs or cancel, and the path of a study file"
verb=$1 file=$2
shift 2
stem=$(basename "${file%.y*ml}")
name=$(tr '[:upper:]_.' '[:lower:]--' <<<"$stem")
[[ $name =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]] || # 47 characters, less what KubeRay and the ConfigMap add
    refuse "a study's file must have a name of up to 40 letters, digits, _ and -, the first a letter, got $file"

manifest() { # WORDS: the job of this study
    echo ---
    sed -e "s/\bdigits\b/$name/g" -e "s|/study/$name.yaml|/study/$(basename "$file")${*:+ $*}|" \
        "${SUPERCM_RAYJOB:-$here/rayjob.yaml}"
}

case $verb in
    start)
        [[ -r $file ]] || refuse "cannot read the study file $file"
        for word in "$@"; do # KubeRay hands them through two shells
            [[ $word =~ ^[][A-Za-z0-9_.,:@%+/=-]+$ ]] || refuse "put this into $file, where it needs no quotes: $word"
        done
        state=$(kubectl get rayjob "$name" --ignore-not-found -o 'jsonpath={.status.jobDeploymentStatus}')
        case $state in
            "") ;;
            Complete | Failed) kubectl delete rayjob "$name" ;;
            *) refuse "$name is there already, $state; see it with: $0 status $file" ;;
        esac
        {
            kubectl create configmap "$name-study" --from-file="$file" --dry-run=client -o yaml
            manifest "$@"
        } | kubectl apply -f "$here/volume.yaml" -f -
        ;;
    status)
        kubectl get rayjob "$name"
        head=$(kubectl get pods -l "ray.io/node-type=head,supercm-ray/study=$name" -o name)
        [[ $head ]] || exit 0
        kubectl exec "$head" -c ray-head -- supercm-ray status "$stem"
        ;;
    logs) kubectl logs --follow "job/$name" ;;
    cancel) kubectl delete rayjob "$name" ;;
    *) refuse "say start, status, logs or cancel, got $verb" ;;
esac
