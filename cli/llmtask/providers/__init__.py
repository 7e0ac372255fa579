"""Model id -> LangChain chat model. Every vendor's quirks live here and nowhere else.

Importing this package is light; LangChain comes in with `get_model` and `open_chat`.
"""

import gc
import importlib
import threading
from typing import TYPE_CHECKING

from llmtask.project import Model, Project, load_project
from llmtask.providers.call import TOOL_NAME, Asked, Delta, Patience, Request, Turn
from llmtask.providers.check import reach
from llmtask.providers.failures import failed, failure_of
from llmtask.providers.keys import Key, find_key, require_key

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from llmtask.providers.chat import Chat

__all__ = [
    "TOOL_NAME",
    "Asked",
    "Chats",
    "Delta",
    "Key",
    "Patience",
    "Request",
    "Turn",
    "failed",
    "failure_of",
    "find_key",
    "get_model",
    "open_chat",
    "preload",
    "reach",
    "require_key",
]


def get_model(model_id: str, *, project: Project | None = None) -> "BaseChatModel":
    """The LangChain chat model of a model id, such as `deepseek-chat`, `offline` or `ollama/qwen3:8b`.

    Raises:
        UsageError: There is no such model.
        UntrustedError: Its provider is not the starter's, and the project is not trusted.
        KeyMissingError: Its provider's key was not found.
        ProjectError: A project file is wrong, or the model's class cannot be built.
    """
    from llmtask.providers.chat import build_model  # brings LangChain

    project = project or load_project()
    return build_model(project, project.model(model_id))


def preload(project: Project, model_id: str) -> None:
    """Begin to import what a call of this model needs, in the background.

    Raises:
        UsageError: There is no such model.
    """
    driver = project.provider_of(model_id).driver
    names = ("llmtask.providers.chat", f"llmtask.providers.{driver}_driver")

    def bring_in() -> None:
        gc.disable()  # nothing that an import makes is garbage: looking for some takes a tenth of the time
        try:
            for name in names:
                importlib.import_module(name)
        except Exception:  # noqa: BLE001, S110  # whoever needs it imports it again, and meets the error there
            pass
        finally:
            gc.freeze()
            gc.enable()

    threading.Thread(target=bring_in, daemon=True).start()


def open_chat(project: Project, model: Model) -> "Chat":
    """An open line to a model.

    Args:
        project: Where its provider stands.
        model: The model, as the config has it or changed for one call.

    Raises:
        UntrustedError, KeyMissingError, ProjectError: As `get_model`.
    """
    require_key(project, model.provider)  # before the second that LangChain takes to come in
    from llmtask.providers.chat import Chat  # brings LangChain

    return Chat(project, model)


class Chats:
    """Open lines that many runs share, one per model: connections are opened once. Safe to use from several threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: dict[str, Chat] = {}
        self._lock = threading.Lock()

    def open(self, project: Project, model: Model) -> "Asked":
        """The line to a model, as `open_chat` gives it.

        Raises:
            UntrustedError, KeyMissingError, ProjectError: As `get_model`.
        """
        with self._lock:
            key = _name(project, model)
            if key not in self._open:
                self._open[key] = open_chat(project, model)
            return self._open[key]

    async def aopen(self, project: Project, model: Model) -> "Asked":
        """As `open`, in the caller's event loop: the first line brings LangChain in, which takes seconds.

        Raises:
            UntrustedError, KeyMissingError, ProjectError: As `get_model`.
        """
        import asyncio  # whoever gets here has it

        if _name(project, model) in self._open:
            return self.open(project, model)
        return await asyncio.to_thread(self.open, project, model)

    async def aclose(self) -> None:
        """Close all connections."""
        for chat in self._open.values():
            chat.close()
            await chat.aclose()
        self._open.clear()


def _name(project: Project, model: Model) -> str:
    return f"{project.root}\n{model.model_dump_json()}"
