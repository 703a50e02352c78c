"""The event loop, with slots that are nothing but sockets."""

import math
import os
import socket

import pytest

from tir_gym.drivers.loop import Loop


class Sockets:
    """What the loop needs of a slot: busy until it has heard `words` words, after each of which `between` is called."""

    def __init__(self, words, between=None):
        self.own, self.peer = socket.socketpair()
        self.left, self.between, self.shared = words, between, []

    @property
    def busy(self):
        return self.left > 0

    def filenos(self):
        return [self.own.fileno()]

    def wakeup(self):
        return math.inf

    def poll(self):
        self.own.recv(1)
        self.left -= 1
        if self.busy and self.between:
            self.between(self)

    def close(self):
        self.own.close()
        self.peer.close()


@pytest.fixture
def play():
    loop, slots = Loop(), []

    def begin(*given):
        slots.extend(given)
        for key, slot in enumerate(given):
            loop.add(key, slot)
        return loop

    yield begin
    loop.close()
    for slot in slots:
        slot.close()


def again_under_the_same_number(slot):
    """Close the socket and open another, which the system gives the number of the old one."""
    number = slot.own.fileno()
    slot.close()
    slot.own, slot.peer = socket.socketpair()
    if slot.own.fileno() != number:
        os.dup2(slot.own.fileno(), number)
        old, slot.own = slot.own, socket.socket(fileno=number)
        old.close()
    slot.peer.send(b"x")


def test_a_descriptor_that_was_closed_and_opened_again_is_heard(play):
    slot = Sockets(3, again_under_the_same_number)
    slot.peer.send(b"x")
    assert play(slot).run(timeout=60) == [0]


def test_slots_are_done_in_the_order_in_which_they_were_heard(play):
    slots = [Sockets(1) for _ in range(3)]
    loop = play(*slots)
    for key in (2, 0, 1):
        slots[key].peer.send(b"x")
        assert loop.run(timeout=60) == [key]
    assert loop.run(timeout=0) == []


def test_a_slot_that_was_removed_is_not_heard(play):
    slot = Sockets(1)
    loop = play(slot)
    slot.peer.send(b"x")
    loop.remove(0)
    assert loop.run(timeout=0) == []
    assert slot.busy
