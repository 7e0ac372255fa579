"""`llmtask usage`: what it all cost."""

import typer

from llmtask.commands.options import Database, usage_log
from llmtask.commands.usage.calls import show_list, show_run
from llmtask.commands.usage.moving import export_rows, import_rows
from llmtask.commands.usage.report import show_report
from llmtask.commands.usage.sync import show_sync
from llmtask.commands.usage.upkeep import prune_rows, purge_user, reprice_rows, verify_rollup
from llmtask.commands.usage.watch import show_watch
from llmtask.view.console import answer

app = typer.Typer(no_args_is_help=True, help="What it all cost.")
app.command("report")(show_report)
app.command("show")(show_run)
app.command("watch")(show_watch)
app.command("list")(show_list)
app.command("sync")(show_sync)


@app.command("path")
def show_path(db: Database = None) -> None:
    """Show where the usage log is."""
    answer(usage_log(db).place)


app.command("export")(export_rows)
app.command("import")(import_rows)
app.command("prune")(prune_rows)
app.command("purge")(purge_user)
app.command("reprice")(reprice_rows)
app.command("verify")(verify_rollup)
