"""Code that has found the channel and the token: what the host takes from it all the same."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.executors.conftest import STERN, Tool, run
from tests.executors.hostile.lies import END
from tests.executors.hostile.program import bounded, protocol
from tir_gym.core.interfaces import RunStatus
from tir_gym.executors.forkserver import ForkServer

STEAL = (
    "import gc, json, os, struct\ndef send(body): os.write(3, struct.pack('!I', len(body)) + body)\n"
    "token = next(o.token for o in gc.get_objects() if type(o).__name__ == 'Guest')\n"
)


@pytest.fixture(scope="module", params=["namespaces", "no namespaces"])
def executor(request: pytest.FixtureRequest) -> Iterator[ForkServer]:
    with ForkServer(preload=(), namespaces=request.param == "namespaces", spare=0).leased() as server:
        yield server


@pytest.mark.parametrize(
    "message",
    [
        "dict(t='call', token=token, id=1, tool='grade', arguments={})",
        "dict(t='call', token=token, id='1', tool='offered', arguments={})",
        "dict(t='call', token=token, id=1, tool='offered', arguments=[])",
        "dict(t='file', token=token, data='', error='')",
        "dict(t='forked', token=token, error='')",
        END + " | dict(cpu=float('nan'))",
        END + " | dict(cpu=-1)",
        END + " | dict(memory=10**4000)",
        END + " | dict(memory=True)",
        END + " | dict(stdout=None)",
        END + " | dict(reward=1.0)",
    ],
)
def test_even_with_the_token_only_proper_frames_pass(executor: ForkServer, message: str) -> None:
    attacker = executor.open(STERN, 1, [Tool("offered")])
    assert protocol(run(attacker, f"{STEAL}send(json.dumps({message}).encode()); 1"))


@pytest.mark.parametrize(
    "message",
    [
        "{'t': 'done', 'token': token} | {chr(97 + i) * 140000: 1 for i in range(12)}",
        "{'t': 'x' * 10**6, 'token': token}",
        "{'t': 'done' + 'x' * 10**6, 'token': token}",
    ],
)
def test_a_broken_frame_is_not_quoted_at_length(executor: ForkServer, message: str) -> None:
    attacker = executor.open(STERN, 1)
    done = run(attacker, f"{STEAL}send(json.dumps({message}).encode()); 1")
    assert protocol(done)
    assert len(done.error) <= 400


def test_a_forged_end_is_worth_no_more_than_a_lie_about_the_output(executor: ForkServer) -> None:
    attacker = executor.open(STERN, 1)
    done = run(attacker, f"{STEAL}send(json.dumps({END} | dict(stdout='x' * 10**6)).encode()); 1")
    assert done.status is RunStatus.OK
    assert bounded(done)
    with suppress(RuntimeError):
        run(attacker, "1")  # the honest end of the first is out of turn now
    assert attacker.fileno() == -1
