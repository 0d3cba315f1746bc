import pytest

from gnomon.promqltest.compare import annotations_problem
from gnomon.promqltest.script import Message


@pytest.mark.parametrize(
    ("wanted", "texts", "fine"),
    [
        pytest.param(None, ["x"], True, id="not looked at"),
        pytest.param((), [], True, id="none wanted, none there"),
        pytest.param((), ["x"], False, id="none wanted, one there"),
        pytest.param((Message(),), [], False, id="one wanted, none there"),
        pytest.param((Message(),), ["x", "y"], True, id="any"),
        pytest.param((Message(text="x"),), ["x", "y"], False, id="one not explained"),
        pytest.param((Message(text="x"), Message(regex="^y")), ["x", "yes"], True, id="both"),
        pytest.param((Message(text="x"), Message(text="z")), ["x"], False, id="one not seen"),
    ],
)
def test_annotations(wanted, texts, fine):
    assert (annotations_problem("warning", wanted, texts) is None) is fine
