#!/usr/bin/env -S uv run --extra claude --extra gemini --extra crewai
"""Makes examples/recordings/mixed-providers-stand-in anew: the real SDKs, against the stand-in servers of the tests.

uv run --extra claude --extra gemini --extra crewai scripts/stand_in_recording.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.standins.mixed_team import QUESTION, mixed_team  # noqa: E402

PLACE = ROOT / "examples" / "recordings" / "mixed-providers-stand-in"
JOB = "mixed-providers"
_ABOUT = f"""# Recorded against stand-in servers

No real model has said these words: the SDKs of four vendors were run against the scripted servers in
`tests/standins/mixed_team.py`. What the tools found is real. So the team can be looked at without a key:

    deploy start example:{JOB} --replay example:{PLACE.name}
    deploy query {JOB} "{QUESTION}"

`scripts/stand_in_recording.py` makes it anew.
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, mixed_team() as models:
        made = Path(folder) / "recording"
        environ = {**os.environ, **models.environment, "TEAMWRIGHT_HOME": str(Path(folder) / "logs")}

        def deploy(*words: str) -> None:
            subprocess.run([Path(sys.executable).with_name("deploy"), *words], check=True, env=environ, cwd=ROOT)

        try:
            deploy("start", f"example:{JOB}", "--record", str(made))
            deploy("query", JOB, QUESTION)
        finally:
            deploy("stop", "--all")
        if models.unexpected:
            raise SystemExit(f"the models were asked what nobody had reckoned with: {models.unexpected}")
        shutil.rmtree(PLACE, ignore_errors=True)
        shutil.copytree(made, PLACE)
    (PLACE / "README.md").write_text(_ABOUT)
    print(f"written: {PLACE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
