"""Any OpenAI-compatible HTTP server (vLLM, SGLang, llama.cpp, transformers serve, TGI …): many requests in flight, retried.

Pictures are sent as data URLs: the server fetches nothing, and is given no stranger's URL.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from veclip_pipelines.engines.base import EngineText, FinishReason, PictureBatch, TextBatch, go_on
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.profiles import Decoding, EngineProfile
from veclip_pipelines.engines.prompts import Prompt
from veclip_pipelines.errors import EngineError, UsageError
from veclip_pipelines.extras import require

_TIMEOUT_SECONDS = 300.0
#: Retries of the client when the server is busy, broken or gone, with growing pauses.
_RETRIES = 5
_STOP_SECONDS = 0.5
_JPEG_QUALITY = 92
#: Tokens by which a prompt with a picture must be longer than one without, for a model that sees it.
_PICTURE_TOKENS = 8

Message = dict[str, Any]


@dataclass(frozen=True)
class _Prepared:
    conversations: list[list[Message]]
    keys: tuple[str, ...]
    decoding: Decoding


class _Server:
    """Asks one model of a server."""

    def __init__(self, profile: EngineProfile) -> None:
        self._openai = require("openai", EngineError)
        self._profile = profile
        self._key = os.environ.get(profile.api_key_env, "") if profile.api_key_env else "none"
        if not self._key:
            raise EngineError(
                f"engine profile {profile.name!r}: the worker has no environment variable {profile.api_key_env}"
            )

    def ask(
        self, conversations: Sequence[list[Message]], keys: Sequence[str], decoding: Decoding, stop: Callable[[], None]
    ) -> list[EngineText]:
        """One answer per conversation.

        Raises:
            EngineError: the server does not answer, refuses the key, or refuses every row.
        """
        answers = asyncio.run(self._ask_all(conversations, keys, decoding, stop))
        if answers and all(answer.finish_reason == "failed" for answer in answers):
            raise self._error(f"refuses every row: {answers[0].detail}")
        return answers

    async def _ask_all(
        self, conversations: Sequence[list[Message]], keys: Sequence[str], decoding: Decoding, stop: Callable[[], None]
    ) -> list[EngineText]:
        free = asyncio.Semaphore(self._profile.in_flight)
        client = self._openai.AsyncOpenAI(
            base_url=self._profile.server, api_key=self._key, max_retries=_RETRIES, timeout=_TIMEOUT_SECONDS
        )

        async def ask_one(messages: list[Message], key: str) -> EngineText:
            async with free:
                return await self._ask_one(client, messages, key, decoding)

        async with client:
            tasks = [asyncio.create_task(ask_one(*row)) for row in zip(conversations, keys, strict=True)]
            try:
                waiting: set[asyncio.Task[EngineText]] = set(tasks)
                while waiting:
                    done, waiting = await asyncio.wait(
                        waiting, timeout=_STOP_SECONDS, return_when=asyncio.FIRST_EXCEPTION
                    )
                    for task in done:
                        task.result()
                    stop()
                return [task.result() for task in tasks]
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_one(self, client: Any, messages: list[Message], key: str, decoding: Decoding) -> EngineText:
        openai = self._openai
        extra = {} if decoding.repetition_penalty == 1 else {"repetition_penalty": decoding.repetition_penalty}
        try:
            reply = await client.chat.completions.create(
                model=self._profile.model,
                messages=messages,
                max_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seed=decoding.seed_of(key),
                extra_body=extra,
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise self._error(f"answers {error.status_code}: {_words(error)}") from error
        except openai.APIStatusError as error:  # a fault of this row: too long, filtered, or it breaks the server
            return EngineText("", "failed", 0, detail=f"the server answers {error.status_code}: {_words(error)}")
        except openai.APIConnectionError as error:
            raise self._error(f"does not answer: {_words(error)}") from error
        return _text_of(reply)

    def _error(self, what: str) -> EngineError:
        return EngineError(f"engine profile {self._profile.name!r}: the server {self._profile.server} {what}")


class ServerTextEngine:
    """A text model on a server."""

    def __init__(self, spec: EngineSpec) -> None:
        if spec.prompt is None:
            raise UsageError(f"engine profile {spec.profile.name!r} names no prompt, and a text engine needs one")
        self._prompt = spec.prompt
        self._profile = spec.profile
        self._server = _Server(spec.profile)
        probe = self.prepare(TextBatch((dict.fromkeys(spec.prompt.fields, "a red kite"),), ("probe",)))
        self._server.ask(probe.conversations, probe.keys, _short(spec.profile.decoding), go_on)

    def prepare(self, batch: TextBatch) -> _Prepared:
        decoding = self._profile.decoding.of_attempt(batch.attempt, self._profile.guards.retry_temperature)
        return _Prepared([[*self._prompt.messages(values)] for values in batch.fields], batch.keys, decoding)

    def answer(self, prepared: _Prepared, stop: Callable[[], None] = go_on) -> list[EngineText]:
        return self._server.ask(prepared.conversations, prepared.keys, prepared.decoding, stop)


class ServerImageTextEngine:
    """An image-text model on a server. It is tested first for seeing at all, as a text model silently drops pictures.

    Raises:
        EngineError: the server's model does not see.
    """

    def __init__(self, spec: EngineSpec) -> None:
        if spec.prompt is None:
            raise UsageError(f"engine profile {spec.profile.name!r} names no prompt, and a server's model needs one")
        self._prompt = spec.prompt
        self._profile = spec.profile
        self._server = _Server(spec.profile)
        self._check_sight()

    def prepare(self, batch: PictureBatch) -> _Prepared:
        decoding = self._profile.decoding.of_attempt(batch.attempt, self._profile.guards.retry_temperature)
        rows = zip(batch.pictures, batch.fields, strict=True)
        return _Prepared([picture_chat(self._prompt, *row) for row in rows], batch.keys, decoding)

    def answer(self, prepared: _Prepared, stop: Callable[[], None] = go_on) -> list[EngineText]:
        return self._server.ask(prepared.conversations, prepared.keys, prepared.decoding, stop)

    def _check_sight(self) -> None:
        """By the length of the prompt, with and without a picture; where the server does not count, by naming colours."""
        question = "Which colour fills this picture? Answer with one word: red, green or blue."
        colours = ("red", "green", "blue")
        chats = [_user(question, Image.new("RGB", (224, 224), colour)) for colour in colours]
        decoding = _short(self._profile.decoding).model_copy(update={"max_new_tokens": 8})
        blind, *seen = self._server.ask([[_text_turn(question)], *chats], ("", *colours), decoding, go_on)
        if blind.prompt_tokens and seen[0].prompt_tokens:
            sees = seen[0].prompt_tokens - blind.prompt_tokens >= _PICTURE_TOKENS
        else:
            named = [{name for name in colours if name in answer.text.lower()} for answer in seen]
            sees = sum(names == {colour} for colour, names in zip(colours, named, strict=True)) >= 2
        if not sees:
            raise EngineError(
                f"engine profile {self._profile.name!r}: the model {self._profile.model!r} at {self._profile.server} does not "
                "see: it silently drops the picture. Serve an image-text model there."
            )


def picture_chat(prompt: Prompt, picture: Image.Image, values: Mapping[str, str]) -> list[Message]:
    """The chat of one picture: the prompt's system text, then the picture with the question."""
    return [*prompt.opening(), *_user(prompt.question(values), picture)]


def _user(question: str, picture: Image.Image) -> list[Message]:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


def _text_turn(question: str) -> Message:
    return {"role": "user", "content": [{"type": "text", "text": question}]}


def _short(decoding: Decoding) -> Decoding:
    return decoding.model_copy(update={"max_new_tokens": 1, "temperature": 0.0})


def _text_of(reply: Any) -> EngineText:
    if not reply.choices:
        return EngineText("", "failed", 0, detail="the server sent no choice")
    choice, usage = reply.choices[0], reply.usage
    read, said = (usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (0, 0)
    text = (choice.message.content or "").strip()
    if choice.finish_reason == "content_filter":
        return EngineText(text, "failed", said, read, "the server's content filter stopped it")
    reason: FinishReason = "length" if choice.finish_reason == "length" else "stop"
    return EngineText(text, reason, said, read)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
