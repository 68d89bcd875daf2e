"""Prompts, engine profiles and recipes: YAML files with a schema, the project's own and the user's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from veclip_pipelines.errors import UsageError

Entry = TypeVar("Entry", bound=BaseModel)

_SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class Catalogue(Generic[Entry]):
    """One kind of YAML file: those that ship with the project, and those in the user's folder, which take precedence.

    Attributes:
        kind: folder name: prompts, profiles or recipes.
        model: the schema that each file must fit.
        home: VECLIP_HOME; its folder of the same name holds the user's files.
    """

    kind: str
    model: type[Entry]
    home: Path

    def paths(self) -> dict[str, Path]:
        """The file of each entry, by name."""
        found: dict[str, Path] = {}
        for folder in (_SHIPPED / self.kind, self.home / self.kind):
            found.update({path.stem: path for path in sorted(folder.glob("*.yaml"))})
        return found

    def names(self) -> list[str]:
        return sorted(self.paths())

    def load(self, name: str) -> Entry:
        """One entry.

        Raises:
            UsageError: there is no file of that name, or it does not fit the schema.
        """
        paths = self.paths()
        if name not in paths:
            raise UsageError(
                f"there is no {self.kind.removesuffix('s')} named {name!r}. Known: {', '.join(sorted(paths)) or 'none'}. "
                f"Add {self.home / self.kind / (name + '.yaml')} or choose one of these."
            )
        return self.parse(paths[name])

    def parse(self, path: Path) -> Entry:
        """The entry in a file. Raises UsageError, naming each field at fault, if it does not fit the schema."""
        try:
            content = yaml.safe_load(path.read_text("utf-8"))
            return self.model.model_validate(content)
        except yaml.YAMLError as error:
            raise UsageError(f"{path} is not YAML: {error}") from error
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors()
            )
            raise UsageError(f"{path} is no {self.kind.removesuffix('s')}: {faults}") from error

    def content_hash(self, name: str) -> str:
        """Hash of a file's meaning: comments and layout do not count."""
        return hashlib.sha256(self.load(name).model_dump_json().encode()).hexdigest()
