from __future__ import annotations

from pathlib import Path

import pytest

from teamwright.agents.agent import Agent
from teamwright.agents.loading import load, load_class
from teamwright.errors import UserError

MODULES = {
    "fine_for_test": "from teamwright import Agent\nclass One(Agent): ...\nVALUE = 3\n",
    "two_for_test": "from teamwright import Agent\nclass One(Agent): ...\nclass Two(One): ...\n",
    "none_for_test": "VALUE = 3\n",
    "syntax_for_test": "x = 1\nclass One(:\n",
    "import_for_test": "import no_such_module_at_all\n",
    "raises_for_test": "x = 1\nraise ValueError('broken on purpose')\n",
    "exits_for_test": "raise SystemExit(3)\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in MODULES.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_found() -> None:
    assert load_class("fine_for_test", None, Agent).__name__ == "One"
    assert load_class("two_for_test", "Two", Agent).__name__ == "Two"
    assert load("fine_for_test:VALUE") == 3


@pytest.mark.parametrize(
    ("module", "name", "message", "hint"),
    [
        ("missing_for_test", None, "no module 'missing_for_test'", "looked in"),
        ("fine_for_test", "Onne", "fine_for_test has no class 'Onne'", "did you mean 'One'?"),
        ("fine_for_test", "VALUE", "is not a class that derives from Agent", None),
        ("two_for_test", None, "has the classes One, Two", "say which one"),
        ("none_for_test", None, "no class that derives from Agent", "say which one"),
        ("syntax_for_test", None, "syntax_for_test.py:2: invalid syntax", None),
        ("import_for_test", None, "no module 'no_such_module_at_all' .*import_for_test.py:1", None),
        ("raises_for_test", None, "ValueError: broken on purpose .*raises_for_test.py:2", None),
        ("exits_for_test", None, "ended the process .exit code 3", None),
    ],
)
def test_not_found(module: str, name: str | None, message: str, hint: str | None) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_class(module, name, Agent)
    assert "\n" not in caught.value.message
    if hint is None:
        assert caught.value.hint is None
    else:
        assert hint in str(caught.value.hint)


def test_paths_of_the_wrong_form() -> None:
    for path in ("json", "json:", ":dumps"):
        with pytest.raises(UserError, match="not of the form"):
            load(path)
