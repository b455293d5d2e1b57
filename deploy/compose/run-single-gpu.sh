#!/usr/bin/env bash
# The whole stack on one GPU: build, plan, start, wait until every health check is green. `--cpu`: without a GPU.
# What it found out is written to run/: run.env (limits from the plan) and s3.json (keys of the S3 store, made once).
set -euo pipefail; cd "$(dirname "$0")"
mkdir -p models  # which the containers read as another user
umask 077  # run/ holds keys

target=cuda; files=(-f stack.yaml -f gpu.yaml)
if [ "${1:-}" = --cpu ]; then target=cpu; files=(-f stack.yaml); shift; fi

docker compose version >/dev/null 2>&1 && compose=(docker compose) || compose=(docker-compose)
mkdir -p run

# Defaults, overruled by what is in the environment.
set -a
while IFS='=' read -r name value; do
  case $name in ''|'#'*) continue ;; esac
  [ -n "${!name+given}" ] || printf -v "$name" %s "$value"
done < defaults.env
[ "$ULLAGE_IMAGE" != ullage:cpu ] || ULLAGE_IMAGE=ullage:$target
set +a

docker image inspect "$ULLAGE_IMAGE" >/dev/null 2>&1 || docker build --target "$target" -t "$ULLAGE_IMAGE" ../..
docker image inspect "$ETCD_IMAGE" >/dev/null 2>&1 || docker build --target etcd -t "$ETCD_IMAGE" ../..

if [ ! -s run/s3.json ]; then
  access=$(od -An -N10 -tx1 /dev/urandom | tr -d ' \n'); secret=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
  printf 'S3_ACCESS_KEY=%s\nS3_SECRET_KEY=%s\n' "$access" "$secret" > run/s3.env
  printf '{"identities": [{"name": "milvus", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}\n' \
    "$access" "$secret" > run/s3.json
fi

# A budget that does not fit ends here, with the sum and the smallest that works, before anything is started.
gpu=(); [ "$target" = cpu ] || gpu=(--gpus "device=$GPU_ID")
docker run --rm "${gpu[@]}" -v "$(realpath "$MODELS"):/models:ro" -e ULLAGE_RANKING_MODEL -e ULLAGE_EMBEDDING_MODEL \
  -e ULLAGE_LLM_MODEL -e ULLAGE_VECTORS_URI=http://milvus:19530 "$ULLAGE_IMAGE" deploy env > run/plan.env
{ while IFS='=' read -r name _; do
    case $name in ''|'#'*) continue ;; esac
    printf '%s=%s\n' "$name" "${!name}"
  done < defaults.env; cat run/s3.env run/plan.env; } > run/run.env

"${compose[@]}" --env-file run/run.env "${files[@]}" up -d "$@"
echo "waiting until every health check is green"
for _ in $(seq 120); do
  waiting=$("${compose[@]}" --env-file run/run.env "${files[@]}" ps -q | xargs docker inspect \
    --format '{{.Name}} {{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}' | grep -v ' healthy$' || true)
  [ -n "$waiting" ] || { echo "everything is ready: the page is at http://$BIND:8090"; exit 0; }
  sleep 5
done
echo "error: not ready after 10 minutes: $waiting; look with: docker logs NAME" >&2
exit 6
