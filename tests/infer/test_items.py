"""Items are put into a list of an experiment file, and nothing else in it changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml_experiment import yamlio
from ml_experiment.errors import UserError
from ml_experiment.services import edit
from ml_experiment.services.study_edits import change, write

PATH = ("studies", "tune", "remove")
HEAD = "name: x  # 1\nstudies:\n"

# `<…>` is what is put in; what stands in the old file in its place, if anything, is before the `|`.
YAML = {
    "no list": "  tune:\n    step: fit  # 2\n    # 3\n<    remove: [3, 7]\n>  # 4\n  other: {step: fit}\n",
    "no list, at the end": "  tune:\n    step: fit\n<    remove: [3, 7]\n>",
    "no list, wider": "    tune:\n        step: fit\n<        remove: [3, 7]\n>steps: {}\n",
    "braces": "  tune: {step: fit, trials: 3<, remove: [3, 7]>}  # 2\n",
    "braces over lines": "  tune: {step: fit,  # 2\n    trials: 3<, remove: [3, 7]>  # 3\n  }\n",
    "a last alias in braces": "  a: &a 3\n  tune: {step: fit, trials: *a<, remove: [3, 7]>}\n",
    "a list in brackets": "  tune:\n    remove: [ 1,  2<, 3, 7> ]  # 2\n    step: fit\n",
    "over lines": "  tune:\n    remove: [\n      1,  # 2\n      2<, 3, 7>  # 3\n    ]\n    step: fit\n",
    "an empty list": "  tune:\n    remove: [<3, 7>]\n    step: fit\n",
    "nothing": "  tune:\n    remove:< [3, 7]>  # 2\n    step: fit\n",
    "null": "  tune:\n    remove: <[3, 7]|null>\n    step: fit\n",
    "a list of lines": "  tune:\n    remove:\n      - 1  # 2\n      - 2\n<      - 3\n      - 7\n>    step: fit\n",
    "lines that are not indented": "  tune:\n    remove:\n    - 2\n<    - 3\n    - 7\n>    step: fit\n",
    "quotes": "  'tune':\n    \"step\": fit\n<    remove: [3, 7]\n>",
    "a block before": "  tune:\n    step: |\n      fit\n<    remove: [3, 7]\n>\nsteps: {}\n",
    "document end": "  tune:\n    step: fit\n<    remove: [3, 7]\n>...\n",
}


def texts(marked: str) -> tuple[str, str]:
    """What a file holds before and after."""
    before, _, rest = (HEAD + marked).partition("<")
    inside, _, behind = rest.partition(">")
    new, _, old = inside.partition("|")
    return before + old + behind, before + new + behind


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("form", YAML)
def test_yaml(tmp_path: Path, form: str, newline: str) -> None:
    old, new = (text.replace("\n", newline) for text in texts(YAML[form]))
    file = tmp_path / "experiment.yaml"
    file.write_bytes(old.encode())
    write(change(file, PATH, [3, 7]))
    assert file.read_bytes().decode() == new
    assert yamlio.read(new, file.name).plain()["studies"]["tune"]["remove"][-2:] == (3, 7)


JSON = {
    "no list": '{\n  "studies": {\n    "tune": {\n      "step": "fit"<,\n      "remove": [\n        3,\n        7\n      ]>\n    }\n  }\n}\n',
    "one line": '{"studies": {"tune": {"step": "fit"<, "remove": [3, 7]>}}}',
    "a list": '{"studies": {"tune": {"remove": [1<, 3, 7>], "step": "fit"}}}',
    "an empty list": '{"studies": {"tune": {"remove": [<3, 7>], "step": "fit"}}}',
    "lines": '{"studies": {"tune": {"remove": [\n\t1<,\n\t3,\n\t7>\n], "step": "fit"}}}',
}


@pytest.mark.parametrize("form", JSON)
def test_json(tmp_path: Path, form: str) -> None:
    old, new = (text.removeprefix(HEAD) for text in texts(JSON[form]))
    file = tmp_path / "experiment.json"
    file.write_text(old)
    write(change(file, PATH, [3, 7]))
    assert file.read_text() == new
    assert json.loads(new)["studies"]["tune"]["remove"][-2:] == [3, 7]


REFUSED = {
    "  tune: {step: fit, remove: 3}\n": "its `remove` is not a list",
    "  a: &a [1]\n  tune: {step: fit, remove: *a}\n": "its `remove` is an alias",
    "  a: &a {step: fit}\n  tune: *a\n": "its `tune` is an alias",
    "  tune:\n    step: |\n      fit": "end it with a newline first",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_file_that_leaves_no_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(HEAD + text)
    with pytest.raises(UserError) as caught:
        change(file, PATH, [3])
    assert REFUSED[text] in str(caught.value)
    assert "write it yourself: studies.tune.remove: [3]" in str(caught.value)
    assert file.read_text() == HEAD + text


def test_mappings_stand_each_on_a_line(tmp_path: Path) -> None:
    points = [{"C": 1e-05, "kind": "yes"}, {"C": 2.0, "kind": "a b", "deep": [1, None]}]
    path = (*PATH[:2], "enqueue")
    lines = "- {C: 1.0e-05, kind: 'yes'}\n{}- {C: 2.0, kind: a b, deep: [1, null]}\n"
    file = tmp_path / "experiment.yaml"
    file.write_text(HEAD + "  tune:\n    step: fit\n")
    write(change(file, path, points))
    wanted = "    enqueue:\n      " + lines.replace("{}-", " " * 6 + "-")
    assert file.read_text() == HEAD + "  tune:\n    step: fit\n" + wanted
    file.write_text(HEAD + "  tune: {step: fit}\n")
    write(change(file, path, points))
    data = edit.plain(file.read_text(), file)
    assert isinstance(data, dict)
    assert edit.same(data["studies"]["tune"]["enqueue"], edit.tuples(points))
