"""What the doctor sees of a machine, and what it says of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from fake_nvml import NO_LIBRARY, Card, FakeNvml, process
from ullage.cli.main import main
from ullage.devices import Disk, Gpu, Holder, Machine, find_machine
from ullage.doctor.catalog import Catalog
from ullage.doctor.finding import Finding
from ullage.doctor.machine_checks import machine_diagnosis
from ullage.doctor.report import as_markdown
from ullage.doctor.this_machine import Answers, Driver, Running, Seen, _ask_all, driver, look
from ullage.settings import Settings

GIB = 1 << 30
FINE = Seen(
    machine=Machine(cores=8, total_bytes=64 * GIB, free_bytes=48 * GIB, limit="host",
                    disk=Disk("/cache", 900 * GIB, 400 * GIB)),
    driver=Driver(), root=Disk("/", 500 * GIB, 300 * GIB), state_dir=Path("/state"), now_unix_s=1_800_000_000.0,
    running=(),
)
RANKING = Running("ranking", "http://127.0.0.1:1", predicted_bytes=GIB, resident_bytes=GIB)
WELL = Answers(live=True, ready=True, metrics=True)


def said(seen: Seen, known: Catalog) -> dict[str, Finding]:
    return {f.id: f for f in machine_diagnosis(seen, known.checks).findings}


def test_a_machine_in_order_gives_notes_alone(known: Catalog):
    assert {f.severity for f in said(FINE, known).values()} <= {"info"}
    assert machine_diagnosis(replace(FINE, running=((RANKING, WELL),)), known.checks).severity == "info"


def test_the_incidents_disk_is_told(known: Catalog):
    seen = replace(FINE, root=Disk("/", 500 * GIB, 30 * GIB))
    found = said(seen, known)["disk-full"]
    assert "94 %" in found.title.en
    assert "30.0 GiB" in found.title.de
    assert "disk-full" not in said(FINE, known)


def test_a_full_cache_is_told_once_where_it_is_the_roots_own_disk(known: Catalog):
    root = Disk("/", 500 * GIB, 10 * GIB)
    seen = replace(FINE, root=root, machine=replace(FINE.machine, disk=Disk("/root/.cache", 500 * GIB, 10 * GIB)))
    found = machine_diagnosis(seen, known.checks).findings
    assert [f.subject for f in found if f.id == "disk-full"] == ["/"]


def test_memory_that_is_nearly_gone_is_told_with_its_limit(known: Catalog):
    seen = replace(FINE, machine=replace(FINE.machine, free_bytes=GIB, limit="memory.max"))
    assert "memory.max" in said(seen, known)["memory-short"].title.en


def test_who_holds_a_gpu_is_told_and_what_the_driver_hides(known: Catalog):
    machine = find_machine("a100dx-80c-held")
    found = said(replace(FINE, machine=machine), known)["gpu-held"]
    assert "GRID A100DX-80C" in found.title.en
    assert "does not say by whom" in found.cause.en
    gpu = Gpu(0, "NVIDIA L4", 24 * GIB, 10 * GIB, holders=(Holder(7, "tritonserver", 13 * GIB),))
    found = said(replace(FINE, machine=replace(FINE.machine, gpus=(gpu,))), known)["gpu-held"]
    assert "tritonserver (pid 7) 13.0 GiB" in found.cause.en


def test_a_vgpu_without_a_licence_is_an_error_and_a_whole_card_none(known: Catalog):
    vgpu = Gpu(0, "GRID A100DX-80C", 80 * GIB, 79 * GIB, kind="vgpu")
    driver_ = Driver("570.124", (12, 8), {0: "unlicensed"})
    seen = replace(FINE, machine=replace(FINE.machine, gpus=(vgpu,)), driver=driver_)
    assert said(seen, known)["gpu-vgpu-unlicensed"].severity == "error"
    whole = replace(seen, machine=replace(FINE.machine, gpus=(replace(vgpu, kind="gpu"),)))
    assert "gpu-vgpu-unlicensed" not in said(whole, known)


def test_a_driver_older_than_the_cuda_of_pytorch_is_told(known: Catalog):
    seen = replace(FINE, driver=Driver("470.82", (11, 4)), torch_cuda=(12, 8))
    assert "11.4" in said(seen, known)["driver-too-old"].title.en
    assert "driver-too-old" not in said(replace(seen, driver=Driver("570.1", (12, 4))), known)


def test_a_clock_before_the_programs_own_files_is_told(known: Catalog):
    seen = replace(FINE, now_unix_s=1_000_000.0, newest_file_unix_s=1_800_000_000.0)
    assert said(seen, known)["clock-off"].severity == "warning"
    assert said(replace(FINE, unsynchronised=True), known)["clock-off"].severity == "info"


def test_ports_cache_plan_and_services(known: Catalog):
    away = (replace(RANKING, service="rag", restarts=4, reason="exit code 1"), Answers(False, False, False, "refused"))
    waits = (replace(RANKING, service="llm"), Answers(True, False, True, "loading"))
    mute = (replace(RANKING, service="ingest"), Answers(True, True, False))
    fat = (replace(RANKING, resident_bytes=2 * GIB), WELL)
    seen = replace(FINE, taken_ports=(("rag", 8081, "nginx (pid 3)"),), missing=(("a/b", "pull it"),),
                   corrupt=(("c/d", "hash differs"),), running=(away, waits, mute, fat), plan_fault="needs 9 GiB")
    found = said(seen, known)
    assert set(found) >= {"port-busy", "cache-missing", "cache-corrupt", "service-away", "service-not-ready",
                          "service-no-metrics", "service-restarts", "plan-exceeded", "plan-does-not-fit"}
    assert "stack-off" not in found
    assert "loading" in found["service-not-ready"].cause.en
    assert found["cache-corrupt"].commands == ("ullage models pull c/d",)
    assert "stack-off" in said(replace(FINE, running=None), known)


def test_the_markdown_of_a_machine_shows_its_environment(known: Catalog):
    seen = replace(FINE, machine=find_machine("a100dx-80c-held"), driver=Driver("570.124", (12, 8), {0: "licensed"}),
                   running=((RANKING, WELL),))
    text = as_markdown(machine_diagnosis(seen, known.checks), "de")
    for part in ("GRID A100DX-80C (vgpu licensed)", "Treiber 570.124, CUDA 12.8", "/mnt/nim-cache", "ranking"):
        assert part in text


class GridNvml(FakeNvml):
    """With a driver of a version, and licences by card."""

    def __init__(self, *cards: Card, states: tuple[int, ...] = ()) -> None:
        super().__init__(*cards)
        self.states = states

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"570.124.06"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 12080

    def nvmlDeviceGetGridLicensableFeatures_v4(self, card: Card) -> SimpleNamespace:
        feature = SimpleNamespace(featureState=self.states[self.cards.index(card)])
        return SimpleNamespace(isGridLicenseSupported=1, licensableFeaturesCount=1, gridLicensableFeatures=[feature])


def test_driver_and_licences_are_read_from_nvml():
    nvml = GridNvml(Card(uuid="GPU-a"), Card(uuid="GPU-b"), states=(1, 0))
    assert driver(nvml) == Driver("570.124.06", (12, 8), {0: "licensed", 1: "unlicensed"})
    assert nvml.opened == 0
    assert driver(FakeNvml(Card())).licences == {}
    assert driver(FakeNvml(init=NO_LIBRARY)) == Driver()


def test_looking_sees_gpus_cache_and_taken_ports(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(cache_dir=tmp_path / "cache", state_dir=tmp_path / "state", rag_port=port)
        seen = look(settings, None, nvml=FakeNvml(Card(computing=[process(1, 1 << 30)])))
    assert seen.machine.gpus[0].name == "NVIDIA H100 80GB HBM3"
    assert seen.machine.disk is not None
    assert ("rag", port) in [(service, at) for service, at, _ in seen.taken_ports]
    assert {model for model, _ in seen.missing} >= {settings.llm_model, settings.embedding_model}
    assert seen.running is None


def test_a_damaged_model_file_is_told(tmp_path: Path, model_cache: Path):
    from ullage.models.card import find_card
    from ullage.models.files import cached_path

    card = find_card("sentence-transformers/all-MiniLM-L6-v2", "embedding")
    for file in card.files:
        path = cached_path(file, tmp_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * file.size)
    seen = look(Settings(cache_dir=tmp_path, state_dir=tmp_path), None, nvml=FakeNvml(init=NO_LIBRARY))
    assert card.name in [model for model, _ in seen.corrupt]


class _Service(BaseHTTPRequestHandler):
    """Live and with metrics, and not ready."""

    def do_GET(self) -> None:
        ready = self.path != "/v1/health/ready"
        body = b"{}" if ready else b'{"message": "loading the model"}'
        self.send_response(200 if ready else 503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_services_are_asked_for_live_ready_and_metrics(served: str):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        grpc = Running("vectors", f"http://127.0.0.1:{listening.getsockname()[1]}", grpc=True)
        answers = asyncio.run(_ask_all([Running("ranking", served), grpc]))
    assert answers == [Answers(True, False, True, "loading the model"), Answers(True, True, True)]
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    [away] = asyncio.run(_ask_all([Running("rag", f"http://127.0.0.1:{port}")]))
    assert not away.live
    assert away.reason


def test_a_service_behind_tls_is_asked_for_its_own_certificate(tmp_path: Path):
    own, other = trustme.CA(), trustme.CA()
    issued = own.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "own.pem"))
    other.issue_cert("127.0.0.1").cert_chain_pems[0].write_to_path(str(tmp_path / "other.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"https://127.0.0.1:{server.server_address[1]}"
        certs = [tmp_path / name for name in ("own.pem", "other.pem", "none.pem")]
        mine, foreign, gone = asyncio.run(_ask_all([Running("ranking", url, cert=cert) for cert in certs]))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert mine == Answers(True, False, True, "loading the model")
    assert not foreign.live
    assert "holds no certificate" in gone.reason


def test_the_command_looks_at_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code = main(["--set", f"state_dir={tmp_path}", "doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code in (0, 10, 11)
    assert "stack-off" in [f["id"] for f in found["findings"]]
    assert any(fact["kind"] == "environment" for fact in found["facts"])


@pytest.mark.parametrize(("arguments", "code", "text"), [
    (["--explain", "trt-profile-oom"], 0, "triton-unloaded"),
    (["--explain", "disk-full", "--lang", "de"], 0, "Ursache:"),
    (["--explain", "trt-profil-oom"], 2, "did you mean trt-profile-oom?"),
    (["--lang", "fr"], 2, "there are en, de"),
    (["--format", "pdf"], 2, "there are text, markdown, json"),
    (["--device-file", "l4-24gb"], 2, "give files too"),
    (["--signatures", "/nowhere-at-all"], 2, "there is no such folder"),
])
def test_the_commands_options(arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", *arguments]) == code
    captured = capsys.readouterr()
    assert text in captured.out + captured.err
