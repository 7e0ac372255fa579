"""What a project holds: finding it, reading its files, and the shape of its config."""

from llmtask.project.config import (
    Config,
    FailureMap,
    Model,
    Price,
    PriceList,
    Provider,
    Schedule,
    Strict,
    Structured,
    Tier,
    Timeouts,
    TokenEstimate,
    Worker,
)
from llmtask.project.load import CONFIG, PROJECT_VARIABLE, Project, load_project, starter_root
from llmtask.project.yaml_file import YamlFile, read_yaml, shown

__all__ = [
    "CONFIG",
    "PROJECT_VARIABLE",
    "Config",
    "FailureMap",
    "Model",
    "Price",
    "PriceList",
    "Project",
    "Provider",
    "Schedule",
    "Strict",
    "Structured",
    "Tier",
    "Timeouts",
    "TokenEstimate",
    "Worker",
    "YamlFile",
    "load_project",
    "read_yaml",
    "shown",
    "starter_root",
]
