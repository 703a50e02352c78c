"""Requests: one to four needs, each met by one tool or by none; or MetaTool's queries."""

import functools
import random

from tir_gym.core.seeding import derive
from tir_gym.core.task import Draft, GeneratedTasks, Gold, TaskSet
from tir_gym.envs.tool_retrieval import benchmarks
from tir_gym.envs.tool_retrieval.catalogue import ACTIONS, OBJECTS, PLACES, Offer, catalogue, done_by

GENERATED = "toolretrieval"
NONE = "none"


def draw(seed: int, count: int, rng: random.Random, level: int) -> Draft:
    """A request with more needs, more of them in other words, and more of them met by none with difficulty.

    One of three needs or more may be met by none: of two, who says blindly "none" has two thirds of the words' F1.
    """
    offers = catalogue(seed, count)
    there = done_by(seed, count)
    wanted = 1 + (level - 1) // 3
    needs, answers, steps = [], [], []
    chosen = rng.sample(offers, wanted)
    lacking = rng.randrange(wanted) if wanted > 2 and rng.random() < 0.1 * level else -1
    for number, offer in enumerate(chosen):
        if number == lacking:
            places = [place for place in PLACES.split(";") if (offer.action, offer.thing, place) not in there]
            offer = Offer(NONE, offer.action, offer.thing, rng.choice(places), "")
        needs.append(_said(offer, rng, plain=level <= 2))
        answers.append(offer.name)
        told = f"{offer.action} {offer.thing} in {offer.place}."
        steps.append({"query": told, "text": told})
    request = "; ".join(needs)
    text = f"I want to {request}." if wanted == 1 else f"I want to do this, one after the other: {request}."
    gold = Gold("; ".join(answers), steps, {"tools": [one for one in answers if one != NONE]})
    return Draft(text, gold, "one need" if wanted == 1 else "several needs", {"catalogue": [seed, count]})


def _said(offer: Offer, rng: random.Random, *, plain: bool) -> str:
    """A need in the words of a request."""
    verb = rng.choice(ACTIONS[offer.action])
    thing = offer.thing if plain else rng.choice(OBJECTS[offer.thing])
    return rng.choice((f"{verb} {thing} in {offer.place}", f"{verb} {thing}, when I am in {offer.place}"))


def make_tasks(source: str | None, split: str, difficulty: int | None, count: int) -> TaskSet:
    """Generated requests (None; each split has a catalogue of its own), or "metatool:FOLDER".

    Raises `ValueError` that names the sources there are.
    """
    if source is not None:
        return benchmarks.load(source, split, difficulty)
    seed = derive("tools", split) % 2**31
    name = GENERATED if count == 3_000 else f"{GENERATED}-{count}"
    return GeneratedTasks(name, functools.partial(draw, seed, count), split=split, difficulty=difficulty)
