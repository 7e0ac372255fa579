"""Where a provider's key comes from: its own variables alone, in the environment, then in `.env` beside config.yaml."""

import os
from dataclasses import dataclass
from pathlib import Path

from llmtask.errors import KeyMissingError, ProjectError
from llmtask.project import Project, require_trust, shown


@dataclass(frozen=True, slots=True)
class Key:
    """A provider's key, and where it was found."""

    value: str
    source: str
    """Such as `DEEPSEEK_API_KEY` or `DEEPSEEK_API_KEY in .env`."""

    def __repr__(self) -> str:
        """Never shows the key."""
        return f"Key(source={self.source!r})"


def find_key(project: Project, provider_id: str) -> Key | None:
    """The provider's key; None where no variable of its own holds one.

    Raises:
        ProjectError: There is a `.env`, and it cannot be read.
    """
    names = project.config.providers[provider_id].api_key_env
    for name in names:
        if value := os.environ.get(name, "").strip():
            return Key(value, name)
    dotenv = project.root / ".env"
    if not names or not dotenv.is_file():
        return None
    values = _dotenv_values(dotenv)
    for name in names:
        if value := (values.get(name) or "").strip():
            return Key(value, f"{name} in {shown(dotenv)}")
    return None


def _dotenv_values(path: Path) -> dict[str, str | None]:
    from dotenv import dotenv_values  # only where there is such a file

    try:
        return dotenv_values(path, interpolate=False, encoding="utf-8-sig")  # Windows editors begin it with a BOM
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        message = f"{shown(path)}: cannot be read ({reason}); save it as UTF-8, or set the key in the environment"
        raise ProjectError(message) from error


def require_key(project: Project, provider_id: str) -> str:
    """The provider's key, to be sent; empty for a provider that needs none. Whoever calls a provider comes by here.

    Raises:
        UntrustedError: The provider is not the starter's, and the project is not trusted.
        KeyMissingError: It needs one and none was found; names the variable and the ways on.
    """
    require_trust(project, provider_id)
    provider = project.config.providers[provider_id]
    if not provider.api_key_env:
        return ""
    key = find_key(project, provider_id)
    if key is None:
        where = f" (you can get one at {provider.key_url})" if provider.key_url else ""
        message = (
            f"no key for {provider_id}: set {' or '.join(provider.api_key_env)}{where}, "
            f"choose another model with --model, or try it without a key: --model offline"
        )
        raise KeyMissingError(message)
    return key.value
