"""Options of a backend in the job file: what is wrong is named with file, line and key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from teamwright.errors import JobFileError

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder


def test_each_wrong_value_has_its_line(folder: Folder) -> None:
    with pytest.raises(JobFileError) as caught:
        folder.load(
            """
            agents:
              - id: lead
                backend: claude
                backend_options:
                  builtin_tools: [Read, Reed]
                  cwd: nowhere
                model_options: {effort: huge}
            """
        )
    lines = [str(problem) for problem in caught.value.problems if "packages" not in str(problem)]
    assert [line.partition(": ")[0].rpartition(":")[2] for line in lines] == ["5", "6", "7"]
    assert "agents[0].backend_options.builtin_tools[1]: agent 'lead': the CLI has no tool 'Reed'" in lines[0]
    assert "did you mean 'Read'?" in lines[0]
