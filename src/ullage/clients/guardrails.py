"""May this be asked, and may that be answered? By NeMo Guardrails, or whatever has its route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import httpx

from ullage.clients.base import ModelClient
from ullage.errors import DependencyDown


class GuardrailsClient(ModelClient):
    """`POST /v1/guardrail/checks`: `status` is `success` or `blocked`. Errors: see ModelClient."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        config: str,
        timeout_s: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, role="guardrails", model=model, timeout_s=timeout_s, transport=transport)
        self._config = config

    async def allows(self, messages: Sequence[Mapping[str, str]]) -> bool:
        """Of messages that end with the user's the question is judged, of others the answer."""
        body = {
            "model": await self.model(),
            "messages": [dict(message) for message in messages],
            "guardrails": {"config_id": self._config},
        }
        answer = await self.call("POST", "/v1/guardrail/checks", body)
        status = answer.get("status") if isinstance(answer, dict) else None
        if status not in ("success", "blocked"):
            raise DependencyDown(f"guardrails at {self.base_url} gave no verdict: check that guardrails_url is that of "
                                 "a service with /v1/guardrail/checks")
        return bool(status == "success")
