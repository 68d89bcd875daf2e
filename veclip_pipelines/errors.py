"""The errors that a person is meant to read: what is wrong, where, and what to do about it."""

from __future__ import annotations


class VeclipError(Exception):
    """A failure with a message for a person. The command line prints it and exits with ``exit_code``."""

    exit_code = 1


class UsageError(VeclipError):
    """The call itself was wrong: an unknown name, a folder that is no crawl drop, a key with a slash in it."""

    exit_code = 2


class CommitConflictError(VeclipError):
    """Another run replaced the same table partition while this one was at work; nothing of this one was written."""


class ModelMissingError(VeclipError):
    """A model's files are not where the engine profile says, and could not be fetched from a hub."""


class EngineError(VeclipError):
    """An engine cannot answer at all: its server is gone, refuses, or its model is not what the profile needs."""
