"""What the user asks for: options, strict loading, JSON Schema, and which rule wins."""

from corepress.config.by_size import BySize, entries, for_count
from corepress.config.document import Document, dump_yaml, load_yaml
from corepress.config.dtypes import DType
from corepress.config.json_schema import json_schema
from corepress.config.layered import CompressionConfig
from corepress.config.options import configuration, layered, option
from corepress.config.precedence import resolve
from corepress.config.problems import Problem, raise_problems
from corepress.config.rules import Alias, Match, Resolution, Rule, Rules, Subject
from corepress.config.schema import Configuration, ModuleConfig, structure

__all__ = [
    "Alias",
    "BySize",
    "CompressionConfig",
    "Configuration",
    "DType",
    "Document",
    "Match",
    "ModuleConfig",
    "Problem",
    "Resolution",
    "Rule",
    "Rules",
    "Subject",
    "configuration",
    "dump_yaml",
    "entries",
    "for_count",
    "json_schema",
    "layered",
    "load_yaml",
    "option",
    "raise_problems",
    "resolve",
    "structure",
]
