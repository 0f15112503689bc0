"""A small job to begin with: its file, a tool, and a test that passes."""

from __future__ import annotations

from pathlib import Path

from teamwright.errors import UserError
from teamwright.jobs.names import name_fault

JOB = """\
# A team of one. Try it:   deploy start {name}.yaml   and then   deploy query {name} "How many words: one two three?"
job:
  name: {name}
  description: What this team is for

agents:
  - id: assistant
    description: Answers questions and counts words
    prompt: You are a friendly assistant. Answer briefly, and use your tools.
    tools: ["{module}:count_words"]
    backend: offline # answers by rules: no model, no key. With a model:  model: claude-sonnet-4-5
"""
TOOLS = '''\
"""The tools of {name}: plain functions. What a model knows of them is their names, types and docstrings."""


def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())
'''
TEST = '''\
"""Run it with pytest. The fixture comes with Teamwright; a test that fails shows the traces of its queries."""

from {module} import count_words


def test_the_tool():
    assert count_words("one two three") == 3


def test_the_team(deploy_job):
    job = deploy_job("{name}.yaml")
    reply = job.query("Count the words: one two three")
    assert "3" in reply.answer
    assert any(span.name == "execute_tool count_words" for span in reply.trace.spans)
'''


def begin(name: str, folder: Path) -> list[Path]:
    """Write the files of a new job into `folder`, which is made; returns them.

    Raises UserError for a name that a job can't have, and when one of the files is there: nothing is written then.
    """
    if fault := name_fault(name):
        raise UserError(f"{name!r} can't be the name of a job: {fault}")
    word = name.replace("-", "_")
    word = f"job_{word}" if word[0].isdigit() else word
    module = f"{word}_tools"
    texts = {
        folder / f"{name}.yaml": JOB,
        folder / f"{module}.py": TOOLS,
        folder / f"test_{word}.py": TEST,
    }
    there = [path for path in texts if path.exists()]
    if there or (folder.exists() and not folder.is_dir()):
        path = there[0] if there else folder
        raise UserError(f"{path} is there already, and nothing is overwritten", hint="another name, or another folder")
    made: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x") as file:
                made.append(path)
                file.write(text.replace("{name}", name).replace("{module}", module))
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        raise UserError(f"{error.filename or folder} can't be written: {error.strerror}") from None
    return made
