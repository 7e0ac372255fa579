"""Whether a project may run code of its own and send keys and documents to hosts that the starter does not name.

Trust is given to what a project would do, by content: a change of it asks again. A folder that is its user's own work
is trusted whatever it will hold.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llmtask.errors import ProjectError, UntrustedError
from llmtask.project.config import Provider, RateSource
from llmtask.project.load import CONFIG, Project, starter_root
from llmtask.project.yaml_file import shown

TRUST_VARIABLE = "LLMTASK_TRUST"

# What a provider may say without harm. All else in it decides what is run, and what is sent where.
_HARMLESS = {"currency", "temperature_range", "greedy", "forced_tools", "image_form", "unlisted", "failures"}
_ALWAYS = "always"  # in place of a digest: the folder is trusted whatever it holds
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_RECORD = re.compile(f"[0-9a-f]{{64}}|{_ALWAYS}")


@dataclass(frozen=True, slots=True)
class Risk:
    """Something of a project's own that can do harm."""

    text: str
    """What it does, for people: `schemas/offer.py is Python code`."""
    content: str
    """What trust in it is given to: changes with every change of it."""


def risks(project: Project) -> tuple[Risk, ...]:
    """Everything in a project that can do harm; none for one that holds prompts, routes, prices and tasks alone.

    Raises:
        ProjectError: A Python file of it cannot be read.
    """
    if project.is_starter:
        return ()
    providers = (_provider_risk(project, provider_id) for provider_id in project.config.providers)
    found = (*providers, _rates_risk(project), _database_risk(project))
    return (*filter(None, found), *_code_risks(project))


def why_trusted(project: Project, found: Sequence[Risk] | None = None) -> str | None:
    """Why a project is trusted, as the end of a sentence; None where it is not.

    Args:
        project: The project.
        found: Its risks, where they are known.

    Raises:
        ProjectError: A Python file of it cannot be read.
    """
    if project.is_starter:
        return "it is the starter"
    if project.is_vouched:
        return "it was, in this process"
    if os.environ.get(TRUST_VARIABLE) == "1":
        return f"{TRUST_VARIABLE} is 1"
    stored, _ = _stored(project.root)
    if stored == _ALWAYS:
        return "whatever it holds"
    found = risks(project) if found is None else found
    if not found:
        return "nothing in it can do harm"
    return "as it is now" if stored == _digest(found) else None


def is_trusted(project: Project) -> bool:
    """Whether a project may do everything that it says.

    Raises:
        ProjectError: A Python file of it cannot be read.
    """
    return why_trusted(project) is not None


def require_trust(project: Project, provider_id: str | None = None) -> None:
    """Stop what a project must not do untrusted. A yes is asked for no more: it holds as long as this object.

    Args:
        project: The project.
        provider_id: The provider that is about to be used; None for Python code of the project's own.

    Raises:
        UntrustedError: It is not trusted; says what it would do, and the ways on.
        ProjectError: A Python file of it cannot be read.
    """
    if project.is_vouched or (provider_id is not None and _provider_risk(project, provider_id) is None):
        return
    if not is_trusted(project):
        raise UntrustedError(_refusal(project, provider_id))
    project.vouch()


def require_rates_trust(project: Project) -> None:
    """Stop before exchange rates are fetched from a source that is not the starter's, and that nobody trusts.

    Raises:
        UntrustedError: As `require_trust`.
        ProjectError: As `require_trust`.
    """
    risk = None if project.is_starter else _rates_risk(project)
    if risk and not is_trusted(project):
        raise UntrustedError(_refused(project, risk))


def database_of(project: Project) -> str | None:
    """Where a project's config says that the usage log is: a URL, or a file's path; None where it says nothing.

    Raises:
        UntrustedError: As `require_trust`.
        ProjectError: It names an environment variable that is not set; or as `require_trust`.
    """
    named = project.config.usage.database
    risk = _database_risk(project)
    if risk and not is_trusted(project):
        raise UntrustedError(_refused(project, risk))
    if named is None or "://" in named:
        return _filled(named) if named else None
    return str(project.root / Path(_filled(named)).expanduser())


def _filled(text: str) -> str:
    """A database's name with the environment's values in it; a part of a URL is encoded as such.

    Raises:
        ProjectError: One is not set.
    """

    def value(found: re.Match[str]) -> str:
        said = os.environ.get(found[1])
        if said is None:
            message = f"usage.database in {CONFIG} names ${{{found[1]}}}, which is not set in the environment"
            raise ProjectError(message)
        return quote(said, safe="") if "://" in text else said

    return _VARIABLE.sub(value, text)


def grant_trust(project: Project, found: Sequence[Risk]) -> None:
    """Trust a project as long as its risks are these.

    Raises:
        ProjectError: That cannot be stored.
    """
    _store(project.root, _digest(found))
    project.vouch()


def trust_always(root: Path) -> None:
    """Trust the project in a folder whatever it will hold: it is its user's own work.

    Raises:
        ProjectError: That cannot be stored.
    """
    _store(root, _ALWAYS)


def revoke_trust(project: Project) -> bool:
    """Forget that a project was trusted; False where it was not.

    Raises:
        ProjectError: That cannot be stored.
    """
    path = _record(project.root)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        message = f"{path} cannot be removed ({error.strerror}); remove it by hand"
        raise ProjectError(message) from error
    return True


def python_files(folder: Path) -> list[Path]:
    """The Python source below a folder of schemas, sorted. What lies behind a linked folder is none of it."""
    return sorted(path for path in folder.rglob("*.py") if path.is_file())


def is_starters(path: Path) -> bool:
    """Whether a file in a project's `schemas/` is the starter's file of that name, to the byte.

    Raises:
        ProjectError: It cannot be read.
    """
    return _sha256(path) == _sha256(starter_root() / "schemas" / path.name)


def _code_risks(project: Project) -> Iterator[Risk]:
    own, starters = project.root / "schemas", starter_root() / "schemas"
    for path in python_files(own):
        name, digest = path.relative_to(own).as_posix(), _sha256(path)
        if digest != _sha256(starters / name):
            yield Risk(f"{_plain(f'schemas/{name}')} is Python code", repr(("code", name, digest)))
    for path in python_files(project.root / "checks"):
        name, digest = path.relative_to(project.root).as_posix(), _sha256(path)
        yield Risk(f"{_plain(name)} is Python code", repr(("code", name, digest)))


def _provider_risk(project: Project, provider_id: str) -> Risk | None:
    """What is risky in a provider; None for the starter's own, and for one that reaches nobody."""
    provider = project.config.providers[provider_id]
    if project.is_starter or provider.driver == "offline":
        return None
    below = project.below.get("providers", {}).get(provider_id)
    starters = Provider.model_validate(below) if below else None
    said = _dangers(provider)
    if starters and said == _dangers(starters):
        return None
    return Risk(f"provider {_plain(provider_id)} {_deed(provider, starters)}", repr(("provider", provider_id, said)))


def _rates_risk(project: Project) -> Risk | None:
    """What is risky in where exchange rates come from; None for the starter's own source."""
    url, starters = project.config.rates.url, RateSource.model_validate(project.below.get("rates", {})).url
    if url == starters:
        return None
    return Risk(f"exchange rates are fetched from {_plain(url)} (the starter: {starters})", repr(("rates", url)))


def _database_risk(project: Project) -> Risk | None:
    """What is risky in where the usage log is kept; None where that is left to the user."""
    named = project.config.usage.database
    if named is None or project.is_starter:
        return None
    secret = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", re.sub(r"(password=)[^&]*", r"\1***", named))
    return Risk(f"the usage log is kept in {_plain(secret)}", repr(("database", named)))


def _dangers(provider: Provider) -> dict[str, Any]:
    return provider.model_dump(exclude=_HARMLESS)


def _deed(provider: Provider, starters: Provider | None) -> str:
    """What a provider does that the starter's does not, in words."""
    keys = " or ".join(_plain(name) for name in provider.api_key_env)
    known = starters.base_url if starters else None
    load = f"documents and {keys}" if keys else "documents"
    if provider.driver == "langchain":
        deed = f"imports {_plain(provider.class_ or '')} and gives it {load}"
    else:
        deed = f"sends {load}"
    if provider.base_url:
        deed += f" {'for' if provider.driver == 'langchain' else 'to'} {_plain(provider.base_url)}"
    if known and known != provider.base_url:
        deed += f" (the starter: {known})"
    if provider.headers:
        deed += f", with headers of its own ({', '.join(_plain(name) for name in provider.headers)})"
    if provider.key_url and not (starters and provider.key_url == starters.key_url):
        deed += f"; it names {_plain(provider.key_url)} as where to get a key"
    return deed


def _plain(text: str) -> str:
    """A stranger's text as it is, or escaped where a terminal would not show it as it is."""
    return text if text.isprintable() else repr(text)


def _refusal(project: Project, provider_id: str | None) -> str:
    first = _provider_risk(project, provider_id) if provider_id else next(_code_risks(project), None)
    return _refused(project, first or risks(project)[0])


def _refused(project: Project, first: Risk) -> str:
    found = risks(project)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    _, problem = _stored(project.root)
    return (
        f"project {_plain(str(project.root))} is not trusted: {first.text}{more}; look at it, then "
        f"`llmtask trust`; or --trust for this once, or {TRUST_VARIABLE}=1{f' ({problem})' if problem else ''}"
    )


def _digest(found: Sequence[Risk]) -> str:
    return hashlib.sha256(repr(sorted(risk.content for risk in found)).encode()).hexdigest()


def _sha256(path: Path) -> str | None:
    """The digest of a file in hex; None where there is none.

    Raises:
        ProjectError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"{shown(path)}: cannot be read ({error.strerror})"
        raise ProjectError(message) from error


def _record(root: Path) -> Path:
    """The file that says what a project is trusted for: one per folder, so that two processes never overwrite."""
    from platformdirs import user_data_path  # only where somebody needs trust

    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    return user_data_path("llmtask", appauthor=False) / "trust" / name


def _stored(root: Path) -> tuple[str | None, str]:
    """What the project in a folder is trusted for, and what is wrong with the record of it."""
    path = _record(root)
    try:
        trusted, _, folder = path.read_text(encoding="utf-8", errors="surrogateescape").partition("\n")
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{path}, which says whether it is trusted, cannot be read: {error.strerror}"
    if folder != f"{root.resolve()}\n" or not _RECORD.fullmatch(trusted):
        return None, f"{path}, which says whether it is trusted, is damaged; `llmtask trust` writes it anew"
    return trusted, ""


def _store(root: Path, trusted: str) -> None:
    """Write the record whole or not at all, for its owner alone.

    Raises:
        ProjectError: It cannot be written.
    """
    path = _record(root)
    draft = path.with_suffix(f".{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_text(f"{trusted}\n{root.resolve()}\n", encoding="utf-8", errors="surrogateescape")
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        message = f"{path} cannot be written ({error.strerror}); --trust trusts for this once, or {TRUST_VARIABLE}=1"
        raise ProjectError(message) from error
