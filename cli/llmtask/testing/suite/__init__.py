"""Suite files: what is asked, of which models, in which locales, and what the answers are checked for."""

from llmtask.testing.suite.case import Case, Suite
from llmtask.testing.suite.file import SUFFIX, CaseFile, CaseSource, FileInput, Rule, SuiteFile
from llmtask.testing.suite.load import load_suite

__all__ = ["SUFFIX", "Case", "CaseFile", "CaseSource", "FileInput", "Rule", "Suite", "SuiteFile", "load_suite"]
