"""The control sees harm where it is done, and none where it is not; this machine sees nothing of either."""

import json
import subprocess
import sys

import pytest

from tests.executors.hostile.control import ROOT, WAYS
from tests.executors.hostile.programs import HARMLESS


def control(name: str, way: str) -> str:
    command = [sys.executable, "-m", "tests.executors.hostile.control", name, way]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    harms, words = json.loads(done.stdout)
    if harms == "?" and "unshare" in words:
        pytest.skip("the control's jail needs user namespaces")
    return harms


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "harm"), [(HARMLESS.name, ""), ("reads a file of the host", "L"), ("changes a file of the host", "W")]
)
def test_the_control_tells_harm_from_none(name: str, way: str, harm: str) -> None:
    assert control(name, way) == harm
