"""Finds a project, merges its config with the starter's, and checks that its parts fit together."""

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from llmtask.errors import ProjectError, UsageError, did_you_mean
from llmtask.project.config import Config, Model, PriceFile, Provider
from llmtask.project.yaml_file import ValuePath, YamlFile, first_problem, read_yaml, shown

CONFIG = "config.yaml"
PRICES = "prices.yaml"
"""What `llmtask prices import` wrote: read between the starter's config and the project's own, which wins."""
PROJECT_VARIABLE = "LLMTASK_PROJECT"

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Project:
    """A folder of files, over the starter that stands behind it.

    Attributes:
        root: The folder that holds its config.yaml.
        config: Its config, merged with the starter's.
        below: The starter's own config, as its file says it; empty for the starter itself.
        is_vouched: Whether it is trusted in this process, whatever else is known of it.
        memo: What others worked out of its config, which never changes, so that each call need not.
    """

    root: Path
    config: Config
    below: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    is_vouched: bool = field(default=False, repr=False, compare=False)
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def vouch(self) -> None:
        """Trust it from here on, in this process."""
        object.__setattr__(self, "is_vouched", True)

    @property
    def is_starter(self) -> bool:
        """Whether this is the starter itself."""
        return self.root == starter_root()

    def folders(self, kind: str) -> Iterator[Path]:
        """The folders of that name: the project's own, then the starter's."""
        for root in dict.fromkeys((self.root, starter_root())):
            if (root / kind).is_dir():
                yield root / kind

    def find(self, kind: str, relative: str) -> Path | None:
        """The file `relative` in the project's folder `kind`, else the starter's; None where neither has it."""
        for root in self._roots:
            path = f"{root}/{kind}/{relative}"
            if os.path.isfile(path):  # noqa: PTH113  # pathlib takes ten times as long, and each of many runs looks thrice
                return Path(path)
        return None

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        """Where its files are looked for, the project's own folder first."""
        return tuple(dict.fromkeys((str(self.root), str(starter_root()))))

    @cached_property
    def locales(self) -> tuple[str, ...]:
        """The locales that the project has prompts in, sorted."""
        found = {file.parent.name for folder in self.folders("prompts") for file in folder.glob("[!.]*/*.yaml")}
        return tuple(sorted(found))

    def task_id(self, name: str) -> str:
        """The task's own id, from that id or one of its aliases.

        Raises:
            UsageError: No task has that name.
        """
        tasks = self.config.tasks
        if name in tasks:
            return name
        for task, entry in tasks.items():
            if name in entry.aliases:
                return task
        message = f"unknown task {name!r}{did_you_mean(name, tasks)}"
        raise UsageError(message)

    def model(self, model_id: str) -> Model:
        """The model of that id; `provider/name` reaches one that the config does not list.

        Raises:
            UsageError: There is no such model.
        """
        if model_id in self.config.models:
            return self.config.models[model_id]
        provider_id, _, name = model_id.partition("/")
        provider = self.config.providers.get(provider_id)
        if not name:
            known = did_you_mean(model_id, self.config.models)
            message = f"unknown model {model_id!r}{known} (`provider/name` reaches a model that is not listed)"
            raise UsageError(message)
        if provider is None:
            message = f"unknown provider {provider_id!r}{did_you_mean(provider_id, self.config.providers)}"
            raise UsageError(message)
        if provider.unlisted is None:
            message = f"provider {provider_id!r} serves listed models only; add {name!r} under `models:` in {CONFIG}"
            raise UsageError(message)
        return Model(provider=provider_id, name=name, **provider.unlisted.model_dump())

    def provider_of(self, model_id: str) -> Provider:
        """The provider of a model.

        Raises:
            UsageError: There is no such model.
        """
        return self.config.providers[self.model(model_id).provider]


@cache
def starter_root() -> Path:
    """Where the starter project stands: inside the wheel, or at the top of a checkout."""
    packed = _PACKAGE / "starter"
    return packed if packed.is_dir() else _PACKAGE.parents[1]


def load_project(folder: Path | str | None = None, *, trust: bool = False) -> Project:
    """The project to work with.

    Args:
        folder: Its folder. Else `LLMTASK_PROJECT`; else the nearest config.yaml at or above the working folder; else
            the starter.
        trust: Whether it may run code of its own and send keys where it says, though nobody trusted it before.

    Raises:
        ProjectError: A file of it is wrong.
        UsageError: The named folder has no config.yaml.
    """
    root = _named_root(folder) or _nearest_root() or starter_root()
    own = read_yaml(root / CONFIG)
    if root == starter_root():
        return Project(root, _validated(own.data, [own]), is_vouched=trust)
    starter = read_yaml(starter_root() / CONFIG)
    files, merged = [own, starter], starter.data
    if (root / PRICES).is_file():
        imported = read_yaml(root / PRICES)
        imported.validate_as(PriceFile)
        files, merged = [own, imported, starter], merge(merged, imported.data)
    return Project(root, _validated(merge(merged, own.data), files), starter.data, trust)


def _named_root(folder: Path | str | None) -> Path | None:
    name = folder or os.environ.get(PROJECT_VARIABLE)
    if not name:
        return None
    root = Path(name).expanduser().resolve()
    if not (root / CONFIG).is_file():
        message = f"no {CONFIG} in {shown(root)}; `llmtask init {shown(root)}` makes a project there"
        raise UsageError(message)
    return root


def _nearest_root() -> Path | None:
    """The nearest folder at or above the working folder whose config.yaml is one of ours."""
    try:
        start = Path.cwd()
    except OSError:  # it was deleted
        return None
    for folder in (start, *start.parents):
        path = folder / CONFIG
        if path.is_file() and _looks_like_ours(path):
            return folder
    return None


def _looks_like_ours(path: Path) -> bool:
    """Other tools have a config.yaml too: ours says one of our keys, or nearly, or stands beside prompts/."""
    if (path.parent / "prompts").is_dir():
        return True
    try:
        data = read_yaml(path).data
    except ProjectError:
        return path.parent == Path.cwd()
    return not data or any(difflib.get_close_matches(str(key), Config.model_fields) for key in data)


def merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`: mappings merge key by key, null removes a key, everything else replaces."""
    merged = dict(under)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _validated(data: dict[str, Any], files: list[YamlFile]) -> Config:
    """The config, every name in it known.

    Args:
        data: The merged content.
        files: The files it came from, the most specific first: an error names the one that says the value.
    """
    from pydantic import ValidationError  # cheap here: pydantic is loaded with the models

    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        where, message = first_problem(error, Config, data)
        raise _file_of(where, files).error(where, message) from error
    for where, message in (*_dangling(config), *_idle_routes(config, files[0])):
        raise _file_of(where, files).error(where, message)
    return config


def _idle_routes(config: Config, own: YamlFile) -> Iterator[tuple[ValuePath, str]]:
    """Routes of the project's own that no task takes: a misspelt name would leave the task on another route, unseen."""
    for pattern in config.routes:
        stated = ("routes", pattern) in own.lines
        if stated and not any(fnmatchcase(task, pattern) for task in config.tasks):
            yield ("routes", pattern), f"no task matches the route {pattern!r}{did_you_mean(pattern, config.tasks)}"


def _file_of(where: ValuePath, files: list[YamlFile]) -> YamlFile:
    """The file that states the value at `where`, or the most of the way to it."""
    for end in range(len(where), 0, -1):
        for file in files:
            if where[:end] in file.lines:
                return file
    return files[0]


def _dangling(config: Config) -> Iterator[tuple[ValuePath, str]]:
    """Every name in the config that nothing answers to: where it stands, and what is wrong."""
    yield from _names(config.models.items(), "models", "provider", config.providers)
    yield from _names(config.models.items(), "models", "queue", config.queues)
    yield from _names(config.models.items(), "models", "price", config.prices)
    for where, target in _targets(config):
        if target.model not in config.models:
            yield (*where, "model"), _unknown("model", target.model, where, config.models)
        if target.queue and target.queue not in config.queues:
            yield (*where, "queue"), _unknown("queue", target.queue, where, config.queues)
    yield from _dangling_fallbacks(config)
    yield from _dangling_peaks(config)
    yield from _incomplete_providers(config)
    yield from _dangling_budgets(config)


def _dangling_fallbacks(config: Config) -> Iterator[tuple[ValuePath, str]]:
    for name, model in config.models.items():
        for index, fallback in enumerate(model.fallbacks):
            if fallback not in config.models:
                where = ("models", name, "fallbacks")
                yield (*where, index), _unknown("model", fallback, where, config.models)


def _dangling_peaks(config: Config) -> Iterator[tuple[ValuePath, str]]:
    for name, prices in config.prices.items():
        for index, price in enumerate(prices):
            if price.peak and price.peak not in config.schedules:
                where = ("prices", name, index)
                yield (*where, "peak"), _unknown("schedule", price.peak, where, config.schedules)


def _dangling_budgets(config: Config) -> Iterator[tuple[ValuePath, str]]:
    for index, budget in enumerate(config.budgets):
        where = ("budgets", index)
        for part, name, known in (
            ("task", budget.task, config.tasks),
            ("provider", budget.provider, config.providers),
        ):
            if name not in (None, "*") and name not in known:
                yield (*where, part), _unknown(part, str(name), where, known)
        provider = (budget.model or "").partition("/")[0]
        if budget.model not in (None, "*", *config.models) and provider not in config.providers:
            yield (*where, "model"), _unknown("model", str(budget.model), where, config.models)


def _incomplete_providers(config: Config) -> Iterator[tuple[ValuePath, str]]:
    for name, provider in config.providers.items():
        if provider.driver == "langchain" and not provider.class_:
            yield ("providers", name), f"providers.{name} has driver langchain and needs `class: package.module.Class`"
        if provider.driver == "openai" and not provider.base_url:
            yield ("providers", name), f"providers.{name} has driver openai and needs `base_url: https://...`"


def _names(entries: Any, section: str, field: str, known: dict[str, Any]) -> Iterator[tuple[ValuePath, str]]:
    for name, entry in entries:
        value = getattr(entry, field)
        if value is not None and value not in known:
            where = (section, name)
            yield (*where, field), _unknown(field, value, where, known)


def _unknown(kind: str, name: str, where: ValuePath, known: dict[str, Any]) -> str:
    dotted = ".".join(str(part) for part in where)
    return f"unknown {kind} {name!r} in {dotted}{did_you_mean(name, known)}"


def _targets(config: Config) -> Iterator[tuple[ValuePath, Any]]:
    """Every target of every route, with where it stands."""
    get: Callable[[Any, str], Any] = getattr
    for pattern, rule in config.routes.items():
        for part in ("paid", "free", "reasoning"):
            if get(rule, part):
                yield ("routes", pattern, part), get(rule, part)
        for part in ("paid", "free"):
            if rule.vision and get(rule.vision, part):
                yield ("routes", pattern, "vision", part), get(rule.vision, part)
