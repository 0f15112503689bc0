"""Tools of the code review team: ruff, bandit and radon, run for real on a path or on code in the question.

    lint("src/app.py")                       a file or folder, relative to the working folder
    find_security_issues("import pickle …")  Python code itself, with or without a ``` fence
    measure_complexity("Is src/app.py hard to maintain?")   a sentence that names a path

Each returns {tool, target, files, summary, findings, omitted}; a finding is {file, line, rule, severity, message},
severity high, medium or low. The programs run with this interpreter, in an empty folder and environment, so that
neither the caller's configuration nor files beside the code change what they do. Only `*.py` files are read, none is
written. ValueError says what is wrong with the target, RuntimeError what is wrong with the program.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from typing import Annotated, Any

from pydantic import Field

from .source_code import Code, code_in

Target = Annotated[
    str,
    Field(
        description="What to review: the path of a Python file or folder, or Python code itself.",
        examples=["src/app.py", "src", "import os\nos.system(input())"],
    ),
]
Finding = dict[str, Any]

MAX_OUTPUT_BYTES = 30_000_000
MAX_FINDINGS = 100
DEADLINE = 60.0  # seconds, for one program
COMPLEX = 10  # a higher cyclomatic complexity is a finding

_RANKS = {"C": "low", "D": "medium", "E": "high", "F": "high"}
_ORDER = {"high": 0, "medium": 1, "low": 2}
_RUFF_RULES = "E,W,F,B,C4,PERF,PLE,PLW,SIM,UP"
_RUFF_HIGH = ("invalid-syntax", "E9", "F63", "F7", "F82")
_RUFF_MEDIUM = ("F", "B", "E7", "PLE", "PLW")


def lint(target: Target) -> dict[str, Any]:
    """Lint Python code with ruff: unused imports and variables, undefined names, likely bugs, style.

    The target is a file, a folder, or Python code.
    """
    with code_in(target) as code:
        options = ["--isolated", "--no-cache", "--exit-zero", "--no-fix", "--quiet", "--output-format=json"]
        rules = [f"--select={_RUFF_RULES}", "--line-length=120"]
        output = _run("ruff", ["check", *options, *rules, *code.paths], code)
    findings = [
        {
            "file": code.name(item["filename"]),
            "line": item["location"]["row"],
            "rule": item["code"] or "invalid-syntax",
            "severity": _ruff_severity(item["code"] or "invalid-syntax"),
            "message": item["message"],
        }
        for item in output
    ]
    return _report("ruff", code, findings)


def find_security_issues(target: Target) -> dict[str, Any]:
    """Find security problems in Python code with bandit: injection, unsafe deserialisation, secrets, weak hashes.

    The target is a file, a folder, or Python code.
    """
    with code_in(target) as code:
        # Its default exclusions are parts of names, so a project below `~/.git-work` would be passed over in silence.
        exclude = f"--exclude={code.scratch / 'nothing'}"
        # Exit code 1 means that there are findings.
        output = _run("bandit", ["--quiet", "--format=json", exclude, *code.paths], code, exits=(0, 1))
    if missed := len(code.files) - (len(output["metrics"]) - 1):  # one entry a file, and the totals
        raise RuntimeError(f"bandit passed over {missed} of {len(code.files)} files")
    findings = [
        {
            "file": code.name(item["filename"]),
            "line": item["line_number"],
            "rule": item["test_id"],
            "severity": item["issue_severity"].lower(),
            "message": f"{item['issue_text']} (CWE-{item['issue_cwe']['id']})",
        }
        for item in output["results"]
    ]
    findings += [
        _finding({"file": code.name(item["filename"])}, "unreadable", "high", item["reason"])
        for item in output["errors"]
    ]
    return _report("bandit", code, findings)


def measure_complexity(target: Target) -> dict[str, Any]:
    """Measure the complexity of Python code with radon: cyclomatic complexity and the maintainability index.

    The target is a file, a folder, or Python code. A finding is a function with a complexity over 10 (rank C or
    worse) or a file whose maintainability index is low; `most_complex` and `maintainability` hold the measures.
    """
    with code_in(target) as code:
        complexity = _run("radon", ["cc", "--json", "--show-closures", *code.paths], code)
        maintainability = _run("radon", ["mi", "--json", *code.paths], code)
    findings, blocks = _blocks(complexity, code)
    indexes = [
        {"file": code.name(path), "index": round(found["mi"], 1), "rank": found["rank"]}
        for path, found in maintainability.items()
        if "error" not in found  # said among the blocks
    ]
    for block in blocks:
        if block["complexity"] > COMPLEX:
            message = f"{block['name']} has a cyclomatic complexity of {block['complexity']} (rank {block['rank']})"
            findings.append(_finding(block, f"complexity-{block['rank']}", _RANKS[block["rank"]], message))
    for index in indexes:
        if index["rank"] != "A":
            message = f"maintainability index {index['index']} (rank {index['rank']})"
            severity = "medium" if index["rank"] == "B" else "high"
            findings.append(_finding(index, f"maintainability-{index['rank']}", severity, message))
    report = _report("radon", code, findings)
    blocks.sort(key=lambda block: (-block["complexity"], block["file"], block["line"]))
    if blocks:
        average = sum(block["complexity"] for block in blocks) / len(blocks)
        report["summary"] += (
            f" {len(blocks)} function{'s' * (len(blocks) != 1)}, average complexity {average:.1f},"
            f" highest {blocks[0]['complexity']} ({blocks[0]['name']})."
        )
    report["most_complex"] = blocks[:5]
    report["maintainability"] = sorted(indexes, key=lambda item: (item["index"], item["file"]))[:5]
    return report


def _blocks(complexity: dict[str, Any], code: Code) -> tuple[list[Finding], list[dict[str, Any]]]:
    """What `radon cc` could not read, as findings, and the functions and methods that it measured."""
    findings: list[Finding] = []
    blocks: list[dict[str, Any]] = []
    for path, found in complexity.items():
        file = {"file": code.name(path)}
        if isinstance(found, dict):
            findings.append(_finding(file, "unreadable", "high", f"not measured: {found.get('error', found)}"))
            continue
        for block in found:
            name = f"{block['classname']}.{block['name']}" if block.get("classname") else block["name"]
            measure = {"line": block["lineno"], "name": name, "complexity": block["complexity"], "rank": block["rank"]}
            # A method comes twice: in its class and by itself. The class is no function.
            if block["type"] != "class" and file | measure not in blocks:
                blocks.append(file | measure)
    return findings, blocks


def _finding(at: dict[str, Any], rule: str, severity: str, message: str) -> Finding:
    return {"file": at["file"], "line": at.get("line", 1), "rule": rule, "severity": severity, "message": message}


def _run(tool: str, arguments: list[str], code: Code, exits: tuple[int, ...] = (0,)) -> Any:
    """The JSON that `python -m tool` prints. Raises RuntimeError with one line."""
    if importlib.util.find_spec(tool) is None:
        raise RuntimeError(
            f"{tool} is not installed for {sys.executable}; add it with"
            f" `uv pip install --python {sys.executable} {tool}` (or `{sys.executable} -m pip install {tool}`)"
        )
    # HOME is the scratch folder: no personal settings; -P: no module of the current folder in place of the tool.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(code.scratch), "LANG": "C.UTF-8"}
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", tool, *arguments],
                cwd=code.scratch,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                timeout=DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{tool} did not finish within {DEADLINE:.0f} seconds; name a smaller target") from None
        if output.tell() > MAX_OUTPUT_BYTES:
            raise RuntimeError(f"{tool} found too much to report; name a smaller target")
        output.seek(0)
        text = output.read()
    try:
        if done.returncode not in exits:
            raise ValueError
        return json.loads(text)
    except ValueError:
        said = (done.stderr or text).decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{tool} failed (exit code {done.returncode}): {said[-1][:300] if said else ''}") from None


def _ruff_severity(rule: str) -> str:
    if rule.startswith(_RUFF_HIGH):
        return "high"
    return "medium" if rule.startswith(_RUFF_MEDIUM) else "low"


def _report(tool: str, code: Code, findings: list[Finding]) -> dict[str, Any]:
    """The result of one tool: the most severe findings when there are too many, in the order of the files."""
    counts = Counter(finding["severity"] for finding in findings)
    kept = sorted(findings, key=lambda item: _ORDER.get(item["severity"], 2))[:MAX_FINDINGS]
    kept.sort(key=lambda item: (item["file"], item["line"], item["rule"]))
    size = "1 file" if len(code.files) == 1 else f"{len(code.files)} files"
    if not findings:
        summary = f"{tool}: no findings in {code.target} ({size})."
    else:
        parts = ", ".join(f"{counts[level]} {level}" for level in _ORDER if counts[level])
        plural = "finding" if len(findings) == 1 else "findings"
        summary = f"{tool}: {len(findings)} {plural} in {code.target} ({size}): {parts}."
    return {
        "tool": tool,
        "target": code.target,
        "files": len(code.files),
        "summary": summary,
        "findings": kept,
        "omitted": len(findings) - len(kept),
    }
