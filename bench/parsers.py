"""The parsers that bench/answers.py compares: each takes a text and a schema, and gives an object or raises."""

import importlib
import os
import types
import typing
from collections.abc import Callable, Iterator

from pydantic import BaseModel

Parse = Callable[[str, type[BaseModel]], BaseModel]


def llmtask() -> Parse:
    from llmtask.answer import read

    return lambda text, schema: read(text, schema).data


def json_repair() -> Parse:
    import json_repair

    return lambda text, schema: schema.model_validate(json_repair.loads(text))


def json_repair_with_schema() -> Parse:
    import json_repair
    import jsonschema  # noqa: F401  # without it every call fails

    return lambda text, schema: schema.model_validate(json_repair.loads(text, schema=schema))


def langchain_json() -> Parse:
    from langchain_core.output_parsers import JsonOutputParser

    parser = JsonOutputParser()
    return lambda text, schema: schema.model_validate(parser.parse(text))


def langchain_pydantic() -> Parse:
    from langchain_core.output_parsers import PydanticOutputParser

    return lambda text, schema: PydanticOutputParser(pydantic_object=schema).parse(text)


def instructor() -> Parse:
    extract = importlib.import_module("instructor.v2.core.json").extract_json_from_codeblock
    return lambda text, schema: schema.model_validate_json(extract(text))


def baml() -> Parse:
    """BAML's own parser, without the client that it generates: sources are written from the pydantic classes."""
    os.environ["RUST_BACKTRACE"] = "0"  # else it logs a stack for every text that it cannot read
    runtime_class = importlib.import_module("baml_py").BamlRuntime
    runtimes: dict[type[BaseModel], typing.Any] = {}

    def parse(text: str, schema: type[BaseModel]) -> BaseModel:
        if schema not in runtimes:
            runtimes[schema] = runtime_class.from_files("/", {"main.baml": _baml_source(schema)}, {})
        runtime, module = runtimes[schema], types.ModuleType("baml_types")
        for one in _models(schema):
            setattr(module, one.__name__, one)
        context = runtime.create_context_manager()
        found = runtime.parse_llm_response("Read", text, module, module, module, False, context, None, None, {})
        return schema.model_validate(found.model_dump())

    return parse


PARSERS: dict[str, Callable[[], Parse]] = {
    "llmtask": llmtask,
    "json_repair": json_repair,
    "json_repair+schema": json_repair_with_schema,
    "LangChain Json": langchain_json,
    "LangChain Pydantic": langchain_pydantic,
    "instructor": instructor,
    "BAML": baml,
}

_BAML_CLIENT = """
client<llm> None {
  provider openai
  options {
    model "none"
    api_key "none"
  }
}
"""


def _baml_source(schema: type[BaseModel]) -> str:
    classes = [
        "\n".join(
            [
                f"class {one.__name__} {{",
                *(f"  {name} {_baml_type(field.annotation)}" for name, field in one.model_fields.items()),
                "}",
            ]
        )
        for one in _models(schema)
    ]
    function = f'function Read(text: string) -> {schema.__name__} {{\n  client None\n  prompt #"{{{{ text }}}}"#\n}}'
    return "\n".join([_BAML_CLIENT, *classes, function, ""])


def _baml_type(annotation: typing.Any) -> str:
    arguments = typing.get_args(annotation)
    if type(None) in arguments:
        return _baml_type(next(one for one in arguments if one is not type(None))) + "?"
    if typing.get_origin(annotation) is list:
        return _baml_type(arguments[0]) + "[]"
    if annotation is str or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "string" if annotation is str else str(annotation.__name__)
    return "float"  # the starter schemas have no other numbers


def _models(schema: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The class and those in its fields."""
    yield schema
    for field in schema.model_fields.values():
        for one in _leaves(field.annotation):
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield from _models(one)


def _leaves(annotation: typing.Any) -> Iterator[typing.Any]:
    arguments = typing.get_args(annotation)
    if not arguments:
        yield annotation
    for one in arguments:
        yield from _leaves(one)
