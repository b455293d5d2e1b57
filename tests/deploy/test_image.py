"""The Dockerfile and the script that starts everything, as far as that can be told without building an image."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).parents[2]


def stages():
    """Each target with its instructions, those of the stage it is made from first."""
    found = {}
    for part in re.split(r"(?m)^FROM ", (ROOT / "Dockerfile").read_text())[1:]:
        head, _, body = part.partition("\n")
        base, name = re.fullmatch(r"(\S+) AS (\S+)", head).groups()
        found[name] = [*found.get(base, []), *body.replace("\\\n", "").splitlines()]
    return found


@pytest.mark.parametrize("target", ["cpu", "cuda", "etcd"])
def test_every_image_runs_as_a_number_and_has_a_health_check(target):
    lines = stages()[target]
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001:0"]
    assert [line for line in lines if line.startswith("HEALTHCHECK ")]
    assert [line for line in lines if line.startswith("ENTRYPOINT [")]


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_what_health_checks_of_compose_files_need_is_there(target):
    lines = "\n".join(stages()[target])
    assert re.search(r"apt-get install .* curl ", lines)
    assert "COPY --chmod=755 deploy/healthy /usr/local/bin/healthy" in lines
    for folder in ("/var/lib/ullage", "/var/cache/ullage"):  # any uid, group 0
        assert f"chmod -R g=u {folder}" in lines or re.search(rf"chmod -R g=u .*{folder}", lines)


def test_only_the_cuda_image_has_the_gpu_engine():
    found = {name: "\n".join(lines) for name, lines in stages().items()}
    assert ",gpu]" in found["build-cuda"]
    assert ",gpu]" not in found["build"]
    assert "--from=build-cuda" in found["cuda"]


def test_everything_that_is_copied_is_let_through():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [word for lines in stages().values() for line in lines if line.startswith("COPY") and "--from" not in line
              for word in line.split()[1:-1] if not word.startswith("--")]
    assert copied
    assert {*copied} <= allowed
    assert all((ROOT / name).exists() for name in copied)


class _Service(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.server.ready else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("ready", [True, False])
def test_the_health_check_says_what_the_service_says(ready):
    with HTTPServer(("127.0.0.1", 0), _Service) as server:
        server.ready = ready
        serving = Thread(target=server.serve_forever)
        serving.start()
        done = subprocess.run([ROOT / "deploy" / "healthy", str(server.server_port)], capture_output=True, check=False,
                              env={"PATH": "/usr/bin:/bin"}, timeout=30)
        server.shutdown()
        serving.join()
    assert (done.returncode == 0) == ready


def test_the_start_script_is_sound_shell_and_its_secrets_are_made_here():
    script = ROOT / "deploy" / "compose" / "run-single-gpu.sh"
    assert subprocess.run(["bash", "-n", script], check=False, capture_output=True).returncode == 0
    text = script.read_text()
    assert "umask 077" in text
    [template] = re.findall(r"printf '(\{\"identities.*\})\\n'", text)
    assert json.loads(template % ("a", "b"))["identities"][0]["credentials"] == [{"accessKey": "a", "secretKey": "b"}]


DOCKER = """#!/bin/bash
echo "$*" >> "$CALLS"
case "$1 $2" in
  "image inspect") exit 1 ;;
  "run --rm") [ -z "$NO_ROOM" ] || exit 3; echo ULLAGE_RANKING_MEMORY=1; echo RANKING_LIMIT=2 ;;
  "compose --env-file") case "$*" in *" ps -q") echo one ;; esac ;;
  inspect*) echo "/ranking healthy" ;;
esac
"""


@pytest.fixture
def start(tmp_path):
    """The script in a copy of its folder, with a docker that only writes down what it is asked."""
    shutil.copytree(ROOT / "deploy" / "compose", tmp_path / "compose", ignore=shutil.ignore_patterns("run", "models"))
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)

    def run(*arguments, **environment):
        done = subprocess.run([tmp_path / "compose" / "run-single-gpu.sh", *arguments], capture_output=True, text=True,
                              check=False, timeout=60, env={"PATH": f"{docker.parent}:/usr/bin:/bin", **environment,
                                                            "CALLS": str(tmp_path / "calls")})
        return done, (tmp_path / "calls").read_text().splitlines(), tmp_path / "compose" / "run"

    return run


def test_starting_builds_plans_and_waits(start):
    done, calls, folder = start(ULLAGE_LOG_LEVEL="DEBUG")
    assert done.returncode == 0, done.stderr
    assert "everything is ready: the page is at http://127.0.0.1:8090" in done.stdout
    assert [call.split()[:3] for call in calls if call.startswith("build")] == [["build", "--target", "cuda"],
                                                                             ["build", "--target", "etcd"]]
    assert any("--gpus device=0" in call and call.endswith("ullage:cuda deploy env") for call in calls)
    assert "compose --env-file run/run.env -f stack.yaml -f gpu.yaml up -d" in calls
    written = dict(line.split("=", 1) for line in (folder / "run.env").read_text().splitlines())
    given = (written["RANKING_LIMIT"], written["ULLAGE_LOG_LEVEL"], written["ULLAGE_IMAGE"])
    assert given == ("2", "DEBUG", "ullage:cuda")
    [identity] = json.loads((folder / "s3.json").read_text())["identities"]
    assert identity["credentials"][0]["secretKey"] == written["S3_SECRET_KEY"]
    assert (folder / "run.env").stat().st_mode & 0o077 == 0


def test_the_s3_keys_are_made_once(start):
    _, _, folder = start("--cpu")
    first = (folder / "s3.json").read_text()
    _, calls, _ = start("--cpu")
    assert (folder / "s3.json").read_text() == first
    assert not any("--gpus" in call or "gpu.yaml" in call for call in calls)


def test_what_does_not_fit_starts_nothing(start):
    done, calls, _ = start(NO_ROOM="1")
    assert done.returncode == 3
    assert not any(" up -d" in call for call in calls)
