# SPDX-License-Identifier: Apache-2.0
"""What the documentation says is so: links, tests, commands, fields and exit codes exist as written."""

import argparse
import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import msgspec
import msgspec.inspect as shapes
import pytest

from skyglow_shared import command, errors, study, vocabulary

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RECORDS = (
    study.Aggregation,
    study.Study,
    study.Period,
    study.Area,
    study.Model,
    study.Occupancy,
    study.Phase,
    study.Block,
    study.Thresholds,
    study.Supplier,
)
PROMISES = ("threat-model.md", "privacy-promise.md", "sharp-edges.md")


def page_name(path):
    return str(path.relative_to(ROOT))


def text_of(path):
    return path.read_text(encoding="utf-8")


def outside_fences(text):
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(text):
    heads = re.findall(r"^#+ +(.+)$", outside_fences(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def shell_lines(text):
    for fence in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
        yield from (line.partition(" #")[0].strip() for line in fence.splitlines())


def kind(shape):
    """A field's type in plain words, with its limits."""
    match shape:
        case shapes.StrType(pattern=None, max_length=int(most)):
            return f"text, at most {most:,} characters"
        case shapes.StrType(pattern=pattern):
            return {
                None: "text",
                r"^[a-z0-9][a-z0-9_-]{0,63}\Z": "name",
                r"^[0-9a-f]{64}\Z": "64 hex digits",
                r"^[EW]01[0-9]{6}\Z": "text",
                r"^[EW]02[0-9]{6}\Z": "text",
                r"^[EW]0[6-9][0-9]{6}\Z": "text",
            }[pattern]
        case shapes.IntType() | shapes.FloatType():
            word = "whole number" if isinstance(shape, shapes.IntType) else "number"
            pairs = ((">", shape.gt), ("≥", shape.ge), ("<", shape.lt), ("≤", shape.le))
            words = {1e-3: "0.001", 1e-9: "10⁻⁹", 1e9: "10⁹"} if isinstance(shape, shapes.FloatType) else {}
            limits = [f"{sign} {words.get(limit, f'{limit:,}')}" for sign, limit in pairs if limit is not None]
            return " ".join([word, ", ".join(limits)]).strip()
        case shapes.BoolType():
            return "true or false"
        case shapes.DateType():
            return "date"
        case shapes.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in sorted(values, key=str))
        case shapes.VarTupleType(item_type=item, max_length=most):
            return f"list of {kind(item)}" if most is None else f"list of at most {most:,} {kind(item)}"
        case shapes.UnionType(types=(shapes.StructType(cls=record), shapes.NoneType())):
            return f"[{record.__name__}](#{record.__name__.lower()}), or none"
        case shapes.StructType(cls=record):
            return f"[{record.__name__}](#{record.__name__.lower()})"
    raise AssertionError(f"no words for {shape}")


def default(field):
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if field.default is not msgspec.NODEFAULT:
        return {"": "empty"}.get(
            field.default, "as below" if isinstance(field.default, msgspec.Struct) else f"`{field.default}`"
        )
    assert field.default_factory is msgspec.NODEFAULT
    return "required"


def fields(record):
    """Rows (field, type, default) of a record's table."""
    return [(f"`{field.name}`", kind(field.type), default(field)) for field in shapes.type_info(record).fields]


def tables(text):
    """The rows of the first table under each second-level heading, as lists of cells, without the header."""
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in section.splitlines()
            if line.startswith("|")
        ]
        found[section.partition("\n")[0]] = rows[2:]
    return found


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", outside_fences(text_of(path))):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (path.parent / place).resolve() if place else path
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(text_of(file)), target


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_file_and_test_that_is_named_exists(path):
    for name in re.findall(r"`((?:tests|benchmarks|shared|client|server|simulations|docs)/[^`\s*<]+)`", text_of(path)):
        file, _, test = name.partition("::")
        assert (ROOT / file).exists(), name
        if test:
            assert re.search(rf"^def {re.escape(test)}\b", text_of(ROOT / file), flags=re.MULTILINE), name


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_make_target_exists(path):
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text_of(path))) <= targets
    assert {line.split()[1] for line in shell_lines(text_of(path)) if line.startswith("make ")} <= targets


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_command_is_understood(path, monkeypatch):
    monkeypatch.setattr(argparse.ArgumentParser, "error", lambda self, message: pytest.fail(message))
    parser = command.build_parser(entry_points(group=command.GROUP))
    for line in shell_lines(text_of(path)):
        words = shlex.split(line.removeprefix(".venv/bin/").removeprefix(".venv-flower/bin/"))
        if words[:1] != ["skyglow"]:
            continue
        if words[-1] in ("--help", "--version"):
            with pytest.raises(SystemExit):
                parser.parse_args(words[1:])
        else:
            assert callable(parser.parse_args(words[1:]).func), line


def test_every_field_of_a_study_is_described():
    found = tables(text_of(ROOT / "docs/reference/study.md"))
    for record in RECORDS:
        rows = [tuple(row[:3]) for row in found[record.__name__]]
        assert rows == fields(record), record.__name__
        assert all(row[3] for row in found[record.__name__]), record.__name__


def test_every_record_within_a_study_is_described():
    described = {record.__name__ for record in RECORDS}
    linked = {name for record in RECORDS for _, words, _ in fields(record) for name in re.findall(r"\[(\w+)\]", words)}
    assert linked | {"Study"} == described


def test_every_legal_gateway_class_and_source_is_described():
    text = text_of(ROOT / "docs/reference/study.md")
    for words in (*vocabulary.LEGAL_GATEWAYS, *study.COMPOSITION_CLASSES, *study.Source.__args__):
        assert words in text, words


def test_every_exit_code_is_described():
    (rows,) = [rows for rows in tables(text_of(ROOT / "docs/reference/errors.md")).values() if rows]
    described = {(row[0].strip("`"), int(row[1])) for row in rows}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SkyglowError)]
    assert described == {(kind.__name__, kind.exit_code) for kind in kinds if kind is not errors.SkyglowError}
    assert len(rows) == len(described)


@pytest.mark.parametrize("page", PROMISES)
def test_every_promise_names_the_test_that_holds_it(page):
    """Each row of a promise's table ends with a test, or says plainly that there is none yet."""
    rows = [row for rows in tables(text_of(ROOT / "docs/explanation" / page)).values() for row in rows]
    assert len(rows) >= 5
    for row in rows:
        assert "`tests/" in row[-1] or row[-1].startswith("none"), row


def test_every_page_can_be_reached_from_the_index():
    index = text_of(ROOT / "docs/index.md")
    linked = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", index)}
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")} - {(ROOT / "docs/index.md").resolve()}
    assert pages <= linked
