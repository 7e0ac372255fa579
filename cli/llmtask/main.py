"""The command line: the Typer app, and the one place where errors become words and exit codes."""

import codecs
import importlib
import io
import os
import sys
import warnings
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from llmtask import __version__, interrupts, tracing
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
            raise typer.Exit(interrupts.exit_code()) from error
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


COMMANDS = {  # where each command is, and its line in --help: neither needs the command itself
    "run": "Run a task and write its valid answer to stdout; everything else goes to stderr.",
    "route": "Show where a run of a task goes: tier, model, queue, worker.",
    "batch": "Run a task on thousands of inputs: a journal, limits that learn, resumable.",
    "worker": "Do the jobs of batches that were begun elsewhere, with others like it.",
    "test": "Run suites: ask models the cases of tests/*.llm.yaml, and examine every answer.",
    "compare": "Compare two runs of suites: what is better, what is worse, what cannot be told.",
    "usage": "What it all cost.",
    "prices": "What models cost: lists, checks, imports, exchange rates.",
    "budget": "What may be spent, and what is left of it.",
    "quota": "What users may spend: paid credit and free runs, and what became of it.",
    "tasks": "What there is to run.",
    "prompts": "Prompt templates: look at them, check them.",
    "schema": "Write the JSON Schema of a task's answer.",
    "models": "What can be asked, and whether it answers.",
    "doctor": "Check versions, project files, keys, usage log and endpoints; exits 3 when something is wrong.",
    "trust": "Let a project run its own Python code and use its own providers; a change of them asks again.",
    "init": "Make a project: its own config.yaml, and the starter's prompts, schemas, suites and examples to edit.",
}


class _Deferred(TyperCommand):
    """Stands for a command until it is called: `--help` and its neighbours then load without it."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Bring the command in, and go on with it."""
        module = importlib.import_module(f"llmtask.commands.{self.name}")
        command = typer.main.get_command(module.app)
        command.name = self.name
        return command.make_context(info_name, args, parent, **extra)


class _Root(_Boundary):
    """The commands by name."""

    def __init__(self, **settings: Any) -> None:
        """Take the commands in the order of their importance."""
        super().__init__(**settings)
        self.commands = {name: _Deferred(name, help=text, callback=None) for name, text in COMMANDS.items()}


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they print local variables, keys among them
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Try it without a key:  [bold]llmtask run job_match --input resume.md --model offline[/]",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmtask {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run and test LLM tasks: prompt templates per locale, a pydantic schema, a route, and a usage log."""


def main() -> None:
    """Run the command line; `__main__` takes the signals before."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # it takes the rest as *_
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    os.environ.pop("LANGCHAIN_TRACING", None)  # LangChain refuses to run with this name of long ago
    warnings.filterwarnings("default", category=UserWarning)  # a log that cannot be written never fails a run
    _let_stdout_say_everything()
    try:
        with tracing.sending():
            app()
    except BrokenPipeError:
        _abandon_stdout()
        sys.exit(ExitCode.PIPE_CLOSED)
    except OSError as error:  # what commands do not write themselves: help
        _complain(f"standard output cannot be written ({error.strerror}); send it somewhere else")
        sys.exit(ExitCode.USAGE)


def _let_stdout_say_everything() -> None:
    """Escape, as JSON does, what the encoding of stdout does not have: GBK has no check mark."""
    codecs.register_error("llmtask", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="llmtask")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    import json  # only where it is needed

    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


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
