"""The contract tests of ranking and embedding, as they are, through front, Serve's proxy and replica.

Left out is the one that starts a server of its own to ask it for keys.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import test_huggingface
import test_langchain
import test_openai
from servers import Server

OWN_SERVER = "test_a_key_is_sent_as_it_sends_its_own"
client = test_openai.client

for _module in (test_huggingface, test_langchain, test_openai):
    globals().update({name: test for name, test in vars(_module).items()
                      if name.startswith("test_") and name != OWN_SERVER})


@pytest.fixture
def ranking(served):
    return Server(served.fronts["ranking"], "", Path())


@pytest.fixture
def embedding(served):
    return Server(served.fronts["embedding"], "", Path())
