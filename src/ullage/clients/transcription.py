"""Sound to text, by any server with OpenAI's `/v1/audio/transcriptions`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ullage.errors import DeadlineExceeded, DependencyDown, InvalidRequest


@dataclass(frozen=True, slots=True)
class Heard:
    """One stretch of speech; `start_s` and `end_s` from the beginning."""

    text: str
    start_s: float = 0.0
    end_s: float = 0.0


class TranscriptionClient:
    """Raises DependencyDown when the service does not answer, InvalidRequest when it refuses the file."""

    def __init__(self, base_url: str, *, model: str, api_key: str = "", timeout_s: float) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self._model = model
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(base_url=self.base_url, timeout=timeout_s, headers=headers)

    async def close(self) -> None:
        await self._http.aclose()

    async def transcribe(self, path: Path, name: str) -> list[Heard]:
        """In order. A server that gives no times gives one stretch."""
        form = {"model": self._model, "response_format": "verbose_json"}
        try:
            with path.open("rb") as stream:
                answer = await self._http.post("/v1/audio/transcriptions", data=form, files={"file": (name, stream)})
        except httpx.TimeoutException:
            raise DeadlineExceeded(f"transcription at {self.base_url} did not answer in time for {name}: allow more "
                                   "time (request_timeout_s) or split the file") from None
        except httpx.TransportError as error:
            raise DependencyDown(f"transcription at {self.base_url} cannot be reached ({type(error).__name__}): check "
                                 "that it runs and that transcription_url is right") from None
        if answer.status_code in (429, 503) or answer.status_code >= 500:
            raise DependencyDown(f"transcription at {self.base_url} failed with status {answer.status_code}: "
                                 "look at its log")
        if answer.status_code >= 400:
            raise InvalidRequest(f"transcription at {self.base_url} refused {name} with status {answer.status_code}: "
                                 f"{' '.join(answer.text.split())[:200]}")
        try:
            return _heard(answer.json())
        except (ValueError, TypeError, KeyError, AttributeError):
            raise DependencyDown(f"transcription at {self.base_url} answered with something else than a transcription: "
                                 "check that transcription_url is right") from None


def _heard(body: dict[str, Any]) -> list[Heard]:
    segments = body.get("segments") or []
    if segments:
        return [Heard(str(one["text"]).strip(), float(one["start"]), float(one["end"])) for one in segments]
    return [Heard(str(body["text"]).strip())]
