"""Looks at checks before there is any answer: one that could never look at anything, or never hold, is an error."""

import inspect
from collections.abc import Collection, Sequence

from llmtask.errors import ProjectError, did_you_mean
from llmtask.project import Project
from llmtask.project.yaml_file import ValuePath
from llmtask.schemas import load_object
from llmtask.testing.checks import AnyCheck, FunctionCheck, JudgeCheck, LanguageCheck, UnmovedCheck
from llmtask.testing.checks.answer import ValueCheck
from llmtask.testing.checks.base import shown
from llmtask.testing.suite.case import Case
from llmtask.testing.suite.place import Place, placed
from llmtask.testing.suite.shape import NowhereError, Shape
from llmtask.testing.suite.values import json_type

# What `value` makes of other types: nothing that could hold.
_FITS = {
    "between": {"number", "array"},
    "contains": {"string", "array"},
    "length": {"string", "array", "object"},
    "matches": {"string", "array"},
}


class Vetting:
    """The checks of a suite, against what its project and its task have."""

    def __init__(self, project: Project, shape: Shape) -> None:
        """Take the project, and the shape of the task's answers."""
        self._project, self._shape = project, shape
        self._languages: set[str] = set()

    def require(self, checks: Sequence[AnyCheck], place: Place) -> None:
        """Stop at a check that makes no sense in any case.

        Args:
            checks: Those of the suite, or a case's own.
            place: Where `checks` stands.

        Raises:
            ProjectError: It names what is not there, or compares what can never be alike.
            UntrustedError: It is a function, and the project is not trusted.
        """
        for position, check in enumerate(checks):
            where = ("checks", position)
            self._require_locales(check, place, where)
            self._require_paths(check, place, where)
            with placed(place, where):
                if isinstance(check, FunctionCheck):
                    self._require_function(check)
                if isinstance(check, JudgeCheck) and check.model is not None:
                    self._project.model(check.model)

    def require_looked(
        self, checks: Sequence[AnyCheck], asked: Collection[str], place: Place, who: str = "no case is"
    ) -> None:
        """Stop at a check for a locale in which nothing is asked.

        Args:
            checks: Those of the suite, or a case's own.
            asked: The locales in which something is asked.
            place: Where `checks` stands.
            who: Who is not asked.

        Raises:
            ProjectError: There is such a check.
        """
        for position, check in enumerate(checks):
            for locale in check.locales or []:
                if locale not in asked:
                    message = f"check {check.kind}: {who} asked in {locale}, which it is for"
                    raise place.error(("checks", position), message)

    def require_for(self, case: Case, suite: Place, place: Place) -> None:
        """Stop at a check that makes no sense in this case.

        Args:
            case: The case; its checks are the suite's, then its own.
            suite: Where the suite stands.
            place: Where the case stands.

        Raises:
            ProjectError: There is one that the case cannot have.
        """
        own = len(case.checks) - len(case.file.checks)
        for position, check in enumerate(case.checks):
            locales = [locale for locale in case.locales if not check.locales or locale in check.locales]
            at, where = (suite, position) if position < own else (place, position - own)
            if locales:
                self._require_fit(check, case, at, ("checks", where))
                with placed(at, ("checks", where)):
                    self._require_languages(check, locales)

    def _require_locales(self, check: AnyCheck, place: Place, where: ValuePath) -> None:
        if check.locales == []:
            raise place.error((*where, "locales"), f"check {check.kind}: locales is empty; leave it out for all")
        for position, locale in enumerate(check.locales or []):
            if locale not in self._project.locales:
                known = did_you_mean(locale, self._project.locales)
                raise place.error(
                    (*where, "locales", position), f"check {check.kind}: unknown locale {locale!r}{known}"
                )

    def _require_paths(self, check: AnyCheck, place: Place, where: ValuePath) -> None:
        for name, paths in (("at", [getattr(check, "at", None)]), ("except_at", getattr(check, "except_at", []))):
            for path in filter(None, paths):
                try:
                    kinds = self._shape.kinds(path)
                except NowhereError as error:
                    message = f"check {check.kind}: {path!r} leads nowhere: {error}"
                    raise place.error((*where, name), message) from error
                if isinstance(check, ValueCheck) and kinds is not None:
                    _require_kind(check, kinds, place, where)

    def _require_function(self, check: FunctionCheck) -> None:
        check.require(self._project)
        try:
            signature = inspect.signature(load_object(self._project, "checks", check.call))
        except ValueError:  # some that are written in C have none
            return
        try:
            signature.bind(None, None, **check.args)
        except TypeError as error:
            message = (
                f"{check.call} cannot be called with the answer, a Subject and {check.args or 'no args'} ({error})"
            )
            raise ProjectError(message) from error

    def _require_fit(self, check: AnyCheck, case: Case, place: Place, where: ValuePath) -> None:
        name = case.file.name
        if isinstance(check, UnmovedCheck) and case.file.based_on is None:
            raise place.error(where, f"check unmoved needs a case with `based_on`, which {name!r} is not")
        if not hasattr(check, "inputs"):
            return
        images = [image.name for image in case.images]
        for of in check.inputs or []:
            if of not in case.inputs:
                known = did_you_mean(of, case.inputs)
                what = (
                    f"input {of!r} of case {name!r} is an image"
                    if of in images
                    else f"case {name!r} has no input {of!r}"
                )
                raise place.error(where, f"check {check.kind}: {what}{known}")
        if check.inputs == [] or not case.inputs:
            message = f"check {check.kind}: there is no text in which to look; case {name!r} has images"
            raise place.error(where, message if check.inputs is None else f"check {check.kind}: inputs is empty")

    def _require_languages(self, check: AnyCheck, locales: Sequence[str]) -> None:
        if not isinstance(check, LanguageCheck):
            return
        for locale in [check.locale] if check.locale else locales:
            if locale not in self._languages:
                check.require(locale)
                self._languages.add(locale)


def _require_kind(check: ValueCheck, kinds: frozenset[str], place: Place, where: ValuePath) -> None:
    """Stop at a value that what stands at the path can never be, nor hold.

    Raises:
        ProjectError: It is such a value.
    """
    if check.test == "exists":
        return
    wanted = getattr(check, check.test)
    values = wanted if check.test == "one_of" else [wanted]
    fit = _FITS.get(check.test) or {json_type(value) for value in values}
    if not fit & {*kinds, "null"}:
        message = f"{check.at} is {_either(kinds)}: {check.test} {shown(wanted, 40)} is never so"
        raise place.error((*where, check.test), f"check value: {message}")


def _either(kinds: Collection[str]) -> str:
    return " or ".join(f"{'an' if kind[0] in 'ao' else 'a'} {kind}" for kind in sorted(kinds))
