"""The command line: the Typer app, and the one place where errors become words and exit codes."""

import os
import sys
import warnings
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from llmtask.commands import doctor, init, models, prompts, route, run, schema, tasks, usage
from llmtask.errors import ExitCode, LlmtaskError

_DEBUG = "LLMTASK_DEBUG"


class _Boundary(TyperGroup):
    """Turns what commands raise into a sentence on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LlmtaskError as error:
            _complain(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            _complain("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from error
        except BrokenPipeError as error:
            _abandon_stdout()
            raise typer.Exit(ExitCode.PIPE_CLOSED) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if _is_typers(error) or os.environ.get(_DEBUG):
                raise
            _complain(f"a bug: {type(error).__name__}: {error}; {_DEBUG}=1 shows where. Please report it")
            raise typer.Exit(ExitCode.BUG) from error


app = typer.Typer(
    cls=_Boundary,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they print local variables, keys among them
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Try it without a key:  [bold]llmtask run job_match --input resume.md --model offline[/]",
)
app.command("run")(run.run)
app.command("route")(route.route)
app.add_typer(usage.app, name="usage")
app.add_typer(tasks.app, name="tasks")
app.add_typer(prompts.app, name="prompts")
app.command("schema")(schema.schema)
app.add_typer(models.app, name="models")
app.command("doctor")(doctor.doctor)
app.command("init")(init.init)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"llmtask {version('llmtask')}\n")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run and test LLM tasks: prompt templates per locale, a pydantic schema, a route, and a usage log."""


def main() -> None:
    """Run the command line."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # it takes the rest as *_
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    try:
        app()
    except BrokenPipeError:
        _abandon_stdout()
        sys.exit(ExitCode.PIPE_CLOSED)


def _is_typers(error: Exception) -> bool:
    """Whether it is one of Typer's own usage errors, which it shows itself."""
    return hasattr(error, "exit_code") and hasattr(error, "show")


def _complain(text: str) -> None:
    from llmtask.view.console import complain  # Rich's console, only when there is something to say

    complain(text)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    from llmtask.view.console import warn

    if issubclass(category, UserWarning):
        warn(str(message))


def _abandon_stdout() -> None:
    """Leave a stdout that nobody reads, without Python's complaint at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
