import socket

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vectors"], "ullage up --only vectors"),
        (["rankng"], "did you mean ranking?"),
        (["rag", "--model", "x"], "rag has no model"),
        (["rag", "--transport", "sse"], "--transport is for mcp: leave it out with rag"),
        (["mcp", "--transport", "tcp"], "--transport tcp: there are stdio, sse, streamable-http"),
        (["mcp", "--port", "9000"], "--port means nothing to mcp over stdio"),
        (["mcp", "--transport", "sse", "--memory", "1GiB", "--model", "x"], "--memory, --model means nothing"),
        (["ranking", "--memory", "lots"], "not a size"),
        (["ranking", "--port", "0"], "ranking_port=0 (from flag)"),
    ],
)
def test_what_cannot_be_served_is_refused(ullage, arguments, said):
    ran = ullage("serve", *arguments)
    assert ran.code == 2
    assert said in ran.refusal


def test_the_port_is_claimed_before_anything_is_planned(ullage):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ran = ullage("serve", "ranking", "--port", port, "--memory", "1MiB")
    assert ran.code == 2
    assert f"127.0.0.1:{port}" in ran.refusal
