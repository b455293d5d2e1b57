"""TLS by a certificate and its key, which are proved before anything is loaded."""

import asyncio
import datetime as dt
import ssl

import httpx
import pytest
import trustme
import uvicorn

from ullage.errors import SettingsError
from ullage.http import ServiceInfo, build_app
from ullage.http.door import Door
from ullage.http.run import claim_port
from ullage.http.tls import Tls, pinned_context
from ullage.settings import Settings


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def write(folder, cert, name="one"):
    folder.mkdir(exist_ok=True)
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(b"".join(blob.bytes() for blob in cert.cert_chain_pems))
    paths[1].write_bytes(cert.private_key_pem.bytes())
    return paths


@pytest.fixture
def pair(authority, tmp_path):
    return write(tmp_path, authority.issue_cert("127.0.0.1"))


class Idle:
    async def start(self, health) -> None: ...

    async def stop(self) -> None: ...


async def test_a_server_answers_over_tls_and_over_nothing_else(pair, authority, monkeypatch):
    settings = Settings(tls_cert=pair[0], tls_key=pair[1])
    app = build_app(ServiceInfo("test"), Idle(), max_body=1000, door=Door.of(settings, "ranking"))
    listener = claim_port("127.0.0.1", 0)
    port = listener.getsockname()[1]
    made = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: made.append(self))
    from ullage.http import run_server

    run_server(app, listener)  # as `ullage serve` does, up to the loop that it would block in
    listener = claim_port("127.0.0.1", port)
    serving = asyncio.create_task(made[0]._serve([listener]))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    try:
        async with asyncio.timeout(20):
            while not made[0].started:
                await asyncio.sleep(0.01)
        for context in (trusting, pinned_context(pair[0])):
            async with httpx.AsyncClient(verify=context) as client:
                assert (await client.get(f"https://127.0.0.1:{port}/v1/health/live")).status_code == 200
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(f"https://127.0.0.1:{port}/v1/health/live")
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://127.0.0.1:{port}/v1/health/live")
    finally:
        made[0].should_exit = True
        await serving
        listener.close()


def test_neither_is_plain_http_and_one_alone_is_refused(pair):
    assert Tls.of(None, None) is None
    with pytest.raises(SettingsError, match="tls_cert is set and tls_key is not: set both, or neither"):
        Tls.of(pair[0], None)
    with pytest.raises(SettingsError, match="tls_key is set and tls_cert is not"):
        Tls.of(None, pair[1])


def test_files_that_are_missing_or_no_pem_are_named(pair, tmp_path):
    with pytest.raises(SettingsError, match=r"tls_key=.*nowhere is not a file"):
        Tls.of(pair[0], tmp_path / "nowhere")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(SettingsError, match=r"tls_cert=.*empty.pem"):
        Tls.of(empty, pair[1])


def test_a_key_of_another_certificate_is_named(pair, authority, tmp_path):
    other = write(tmp_path, authority.issue_cert("127.0.0.1"), "other")
    with pytest.raises(SettingsError, match="does not belong to"):
        Tls.of(pair[0], other[1])


@pytest.mark.parametrize(("days", "said"), [((-2, -1), "expired"), ((1, 2), "not yet valid")])
def test_a_certificate_that_clients_would_refuse_now_is_refused_now(authority, tmp_path, days, said):
    now = dt.datetime.now(dt.UTC)
    cert = authority.issue_cert("127.0.0.1", not_before=now + dt.timedelta(days=days[0]),
                                not_after=now + dt.timedelta(days=days[1]))
    with pytest.raises(SettingsError, match=rf"would be refused by clients: .*{said}"):
        Tls.of(*write(tmp_path, cert))


def test_a_key_with_a_password_is_named(pair, tmp_path):
    from cryptography.hazmat.primitives import serialization as pem

    key = pem.load_pem_private_key(pair[1].read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8,
                                         pem.BestAvailableEncryption(b"secret")))
    with pytest.raises(SettingsError, match="is encrypted: give a key without a password"):
        Tls.of(pair[0], locked)
