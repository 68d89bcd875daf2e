"""Prompts: files with a version, a purpose and examples, filled by a template engine that data cannot inject into."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import jinja2
import jinja2.sandbox
from pydantic import BaseModel, ConfigDict, Field

from veclip_pipelines.config.catalogue import Catalogue
from veclip_pipelines.config.settings import Settings

Purpose = Literal["concept", "fusion"]

#: Marks of turns in chat formats. In data they would let a stranger's AltText speak as the user or the model.
_TURN_MARKS = re.compile(
    r"<\|[^|<>]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:image|pad|unk|bos|eos|start_of_turn|end_of_turn)>"
)

_TEMPLATES = jinja2.sandbox.ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=False
)


class Example(BaseModel):
    """One worked example: values of the fields, and the desired answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: dict[str, str]
    answer: str


class Prompt(BaseModel):
    """A prompt file.

    Attributes:
        fields: names that ``user`` may use; data fills them and nothing in the data is read as a template.
        user: Jinja2 template of one question.
        max_words: an answer with more words is too long.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: int = Field(ge=1)
    purpose: Purpose
    description: str
    fields: tuple[str, ...] = ()
    system: str = ""
    user: str
    examples: tuple[Example, ...] = ()
    max_words: int = Field(default=40, ge=1)

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    def question(self, values: Mapping[str, str]) -> str:
        """The filled question. Marks of chat turns are removed from the values first."""
        safe = {name: _TURN_MARKS.sub(" ", values[name]) for name in self.fields}
        return _TEMPLATES.from_string(self.user).render(safe).strip()

    def opening(self) -> list[dict[str, str]]:
        """The chat's first turn, the system's, if the prompt has one."""
        system = self.system.strip()
        return [{"role": "system", "content": system}] if system else []

    def messages(self, values: Mapping[str, str]) -> list[dict[str, str]]:
        """The chat: system, each example as a turn of its own, then the question."""
        turns = self.opening()
        for example in self.examples:
            turns += [
                {"role": "user", "content": self.question(example.fields)},
                {"role": "assistant", "content": example.answer},
            ]
        return [*turns, {"role": "user", "content": self.question(values)}]


def prompt_catalogue(settings: Settings) -> Catalogue[Prompt]:
    return Catalogue("prompts", Prompt, settings.home)


def plain_chat(messages: Sequence[Mapping[str, str]]) -> str:
    """A chat as plain text, for models whose tokenizer has no chat template (Vicuna v1.1's way)."""
    parts = []
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "system":
            parts.append(content)
        else:
            parts.append(f"{'USER' if role == 'user' else 'ASSISTANT'}: {content}")
    return "\n".join([*parts, "ASSISTANT:"])
