"""Tools with descriptions: generated ones, which differ in what they do, to what, and where; or a benchmark's."""

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tir_gym.core.interfaces import Passage
from tir_gym.core.seeding import derive
from tir_gym.retrieval import Bm25
from tir_gym.retrieval.layers import Cached

ACTIONS: dict[str, tuple[str, ...]] = {
    "Books": ("reserve", "arrange"),
    "Cancels": ("call off", "drop"),
    "Compares prices of": ("find the cheapest among", "see who charges least for"),
    "Converts": ("change the format of", "transform"),
    "Creates": ("set up", "make"),
    "Deletes": ("get rid of", "remove"),
    "Estimates the cost of": ("know roughly what I would pay for", "get a quote for"),
    "Exports": ("download", "save to a file"),
    "Insures": ("take out cover for", "protect against loss"),
    "Lists": ("see every one of", "get an overview of"),
    "Pays for": ("settle up for", "transfer the money for"),
    "Prints": ("put on paper", "get a hard copy of"),
    "Rates": ("leave a review of", "give stars to"),
    "Renews": ("extend", "prolong"),
    "Schedules": ("fix a date for", "put into the calendar"),
    "Sends reminders about": ("be told in time about", "not forget about"),
    "Shares": ("let a friend see", "pass on"),
    "Summarises": ("get the gist of", "have a short version of"),
    "Tracks": ("follow where things stand with", "know the whereabouts of"),
    "Translates": ("read in another language", "have in English"),
    "Verifies": ("make sure of the correctness of", "check"),
}
"""What a tool does, and how a request says it."""

OBJECTS: dict[str, tuple[str, ...]] = {
    "bank statements": ("the papers from my bank", "account summaries"),
    "building permits": ("permission to build", "planning consent"),
    "bus tickets": ("seats on a coach", "rides by coach"),
    "concert tickets": ("places at a gig", "seats at a show"),
    "electricity contracts": ("power supply deals", "my agreement with the power company"),
    "ferry crossings": ("trips by boat", "passages over the water"),
    "fishing licences": ("the right to fish", "angling permits"),
    "flight bookings": ("plane reservations", "my seat on the plane"),
    "garden plants": ("shrubs and seedlings", "flowers for the beds"),
    "hotel rooms": ("places to stay", "accommodation for the night"),
    "insurance policies": ("cover agreements", "what I am insured by"),
    "invoices": ("bills", "payment requests"),
    "job applications": ("letters to employers", "my bids for a position"),
    "lecture recordings": ("taped classes", "films of courses"),
    "library loans": ("borrowed books", "what I took out of the library"),
    "meal deliveries": ("food brought to the door", "take-away orders"),
    "medical appointments": ("visits to the doctor", "times at the clinic"),
    "moving vans": ("lorries for my furniture", "removal trucks"),
    "museum visits": ("tours of galleries", "entry to exhibitions"),
    "parcel shipments": ("packages in the post", "deliveries of boxes"),
    "parking spaces": ("somewhere to leave the car", "a bay for the car"),
    "passports": ("travel documents", "identity papers for abroad"),
    "pension plans": ("provision for old age", "retirement savings"),
    "recipes": ("cooking instructions", "how-tos for dishes"),
    "rental cars": ("hired vehicles", "a car for the week"),
    "school reports": ("grades of the children", "marks from class"),
    "tax returns": ("declarations to the revenue", "what I owe the state"),
    "tennis courts": ("a place to play tennis", "courts at the club"),
    "train tickets": ("rail fares", "seats on the railway"),
    "translations": ("texts in other tongues", "translated papers"),
    "vaccinations": ("jabs", "immunisation shots"),
    "water meters": ("gauges of my consumption", "readings of the tap water"),
}
PLACES = (
    "Argentina;Austria;Brazil;Canada;Chile;Denmark;Egypt;Finland;Ghana;Hungary;Iceland;India;Indonesia;Ireland;Japan;"
    "Kenya;Latvia;Mexico;Morocco;Nepal;Norway;Peru;Poland;Portugal;Senegal;Spain;Thailand;Turkey;Uruguay;Vietnam"
)
_NOTES = (
    "Needs an account.",
    "Answers within a second.",
    "Free for the first hundred calls.",
    "Returns a reference number.",
    "Runs once a day.",
    "Keeps a log of every call.",
    "Older versions had other parameters.",
    "Works without registration.",
)
_HEADS = "bal cor dex fen gal hex jor kel lum mor nex orb pax quil rav sol tam ulm vex wen yar zim".split()  # noqa: SIM905
_TAILS = "ado ari eko eno ibo ika omi ora udo una ybo ysa".split()  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool: what it does, to what, where; its name says nothing of it."""

    name: str
    action: str
    thing: str
    place: str
    note: str

    @property
    def description(self) -> str:
        """What is written of it."""
        return f"{self.action} {self.thing} in {self.place}. {self.note}"


@functools.lru_cache(8)
def catalogue(seed: int, count: int) -> tuple[Offer, ...]:
    """So many tools, no two of which do the same."""
    rng = random.Random(derive("catalogue", seed, count))
    places = PLACES.split(";")
    total = len(ACTIONS) * len(OBJECTS) * len(places)
    names = [f"{head}{tail}_{number}" for head in _HEADS for tail in _TAILS for number in range(10, 100)]
    offers = []
    for code, name in zip(rng.sample(range(total), count), rng.sample(names, count), strict=True):
        rest, place = divmod(code, len(places))
        action, thing = list(ACTIONS)[rest // len(OBJECTS)], list(OBJECTS)[rest % len(OBJECTS)]
        offers.append(Offer(name, action, thing, places[place], rng.choice(_NOTES)))
    return tuple(offers)


@functools.lru_cache(8)
def done_by(seed: int, count: int) -> frozenset[tuple[str, str, str]]:
    """What the tools do, to what, and where."""
    return frozenset((one.action, one.thing, one.place) for one in catalogue(seed, count))


def index_of(data: Mapping[str, Any]) -> Cached:
    """What searches the descriptions that a task's data names; one a process."""
    if "catalogue" in data:
        return _generated(*data["catalogue"])
    return _metatool(data["metatool"])


@functools.lru_cache(8)
def _generated(seed: int, count: int) -> Cached:
    return Cached(Bm25.of(Passage(one.name, one.name, one.description) for one in catalogue(seed, count)), 1_000)


@functools.lru_cache(4)
def _metatool(folder: str) -> Cached:
    from tir_gym.envs.tool_retrieval.benchmarks import descriptions

    return Cached(Bm25.of(Passage(name, name, text) for name, text in descriptions(folder).items()), 1_000)
