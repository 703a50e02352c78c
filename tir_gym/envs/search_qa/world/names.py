"""Invented names: the n-th of a kind, each given once; the same in every process.

A name is a number written in syllables (or words) as digits. Numbers are scattered by an affine bijection, so that
neighbours look different and nothing needs to be remembered to keep names unique.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tir_gym.core.seeding import derive

_HEADS = (
    "Ab Al Am An Ar Bal Bar Bel Ber Bor Bram Cal Cam Cor Dal Dar Del Dor Dra El Em Er Fal Far Fen Gal Gar Gel Gor "
    "Hal Har Hel Hor Il Im Is Jal Jor Kal Kar Kel Kor Lan Lar Lem Lor Mal Mar Mel Mor Nal Nar Nel Nor Ol Or Os Pal "
    "Per Pol Quan Ral Ran Rel Ror Sal Sar Sel Sor Tal Tar Tel Tor Ul Um Val Var Vel Vor Wal Wen Yal Yor Zan Zel Zor"
).split()
_HEARTS = (
    "a abi adi aka alo ami ana aro avi e edo eka eli emo eri eva i ibo ido ika ilu imo ino iri iva o obe oda oke "
    "oli ome ona oru ova u uba udi uke ulo uma uno ura uvi"
).split()
_TAILS = "b ck d dd g k l ll m n nd nt r rd rk rn s sk ss st t th v x z".split()
_ENDS = "a as e el en er es i ia in is o on or os u um us y".split()
_GIVEN = (
    "Adra Belo Cason Daveth Edrin Fiora Galen Hestia Ilvar Jorin Kesta Lorn Maeva Neris Odran Perla Quill Rosk "
    "Sevra Tamsin Ulric Vanya Wren Xanthe Yorick Zella Anselk Brisa Corvan Delphi Emric Farrah Gisko Halda Istan "
    "Jessa Kolm Lirien Mordel Nadira Orlen Pavik Rhona Sorel Thessa Umbra Viktra Welda Yvaine Zoltar"
).split()
_MIDDLES = "an bel dor en far gul hen il jor ka lem mir nos or pel quin ras sol tur ves wyn yar zen".split()
_TOWNS = (
    "burg by dale dorf ferry field ford gate grad ham haven hold holm hurst ing land ley mark mere minster moor "
    "mouth port stad stead ton wick wold worth"
).split()
_OLD_ENDS = "ova etta urn opolis ask ell onne".split()
_TRADES = (
    "Glassworks Shipyard Foundry Mills Instruments Press Brewery Railways Chemicals Textiles Mining Airlines "
    "Ceramics Timber Optics Tobacco Breweries Pharmaceuticals Steelworks Publishing Clockworks Paper Salt Tramways "
    "Telegraph Engines Porcelain Insurance Fisheries Cables Bicycles Furniture Confectionery Broadcasting Vineyards"
).split()
_SCHOOLS = (
    "Academy;University;Conservatory;Polytechnic;Institute;Observatory;Seminary;College;School of Mines;Museum;"
    "Botanical Garden;Library"
).split(";")
_OCCASIONS = (
    "Regatta;Congress;Exhibition;Expedition;Festival;Marathon;Air Race;Treaty Conference;Chess Tournament;Flower Show;"
    "Song Contest;Rally;Symposium;Biennale;Fencing Cup;Sailing Cup;Trade Fair;Poetry Prize"
).split(";")
_ADJECTIVES = (
    "Silent Amber Broken Crimson Distant Empty Fading Gilded Hidden Hollow Idle Jade Last Lonely Marble Narrow Old "
    "Pale Quiet Restless Sacred Salted Second Seventh Shallow Sleeping Stolen Sunken Tender Third Twisted Unwritten "
    "Velvet Wandering Weary White Winter Wooden Yellow Bitter Burning Copper Drowned Early Faithful Forgotten "
    "Frozen Golden Green Grey Heavy Honest Inner Iron Kind Late Lesser Long Lost"
).split()
_NOUNS = (
    "Orchard Lantern Harbour Mirror Staircase Garden Letter Bridge Clock River Tower Window Meadow Island Violin "
    "Anchor Compass Kettle Ladder Feather Bell Candle Carpet Cloud Court Crown Door Drum Fountain Gate Hammer "
    "Hourglass Key Lake Ledger Mask Mill Mountain Needle Ocean Palace Pearl Pilgrim Quarry Road Roof Rope Sailor "
    "Saddle Shepherd Shore Spiral Station Stone Street Threshold Thorn Valley Voyage Well"
).split()


@dataclass(frozen=True, slots=True)
class Namer:
    """`size` names of one kind: `digits` are the alternatives for each part of the `pattern` (`{0}`, `{1}`, ...)."""

    pattern: str
    digits: tuple[Sequence[str], ...]
    size: int
    factor: int
    shift: int

    @classmethod
    def of(cls, salt: str, seed: int, pattern: str, *digits: Sequence[str]) -> "Namer":
        """The names of a kind in the world of a seed."""
        size = math.prod(map(len, digits))
        factor = derive("factor", salt, seed) % size | 1
        while math.gcd(factor, size) > 1:
            factor += 2
        return cls(pattern, digits, size, factor, derive("shift", salt, seed) % size)

    def name(self, number: int) -> str:
        """The name of a number below `size`. Raises `IndexError` beyond it."""
        if not 0 <= number < self.size:
            raise IndexError(f"name {number} of {self.size}")
        code = (self.factor * number + self.shift) % self.size
        parts = []
        for digit in self.digits:
            code, place = divmod(code, len(digit))
            parts.append(digit[place])
        return self.pattern.format(*parts)


def words(salt: str, seed: int, count: int) -> list[str]:
    """So many different invented words."""
    namer = Namer.of(salt, seed, "{0}{1}{2}{3}", _HEADS, _HEARTS, _TAILS, _ENDS)
    return [namer.name(number) for number in range(count)]


def namers(seed: int, counts: dict[str, int]) -> dict[str, Namer]:
    """The names of each kind of thing in the world of a seed, for so many of each.

    Surnames and the first words of companies, schools and events are each shared by a few, as in life.
    """

    def pool(kind: str, shared: int) -> list[str]:
        return words(kind, seed, max(40, counts[kind] // shared))

    stems = [given.rstrip("aeiou").removesuffix("ss") for given in _GIVEN]
    given = sorted({*_GIVEN, *(stem + middle for stem in stems for middle in _MIDDLES)})
    make: dict[str, tuple[str, tuple[Sequence[str], ...]]] = {
        "country": ("{0}{1}{2}ia", (_HEADS, _HEARTS, _TAILS)),
        "city": ("{0}{1}{2}{3}", (_HEADS, _HEARTS, _TAILS, _TOWNS)),
        "person": ("{0} {1}", (given, pool("person", 5))),
        "company": ("{0} {1}", (pool("company", 4), _TRADES)),
        "school": ("{0} {1}", (pool("school", 2), _SCHOOLS)),
        "work": ("The {0} {1} of {2}", (_ADJECTIVES, _NOUNS, pool("work", 4))),
        "event": ("{0} {1}", (pool("event", 3), _OCCASIONS)),
        "epithet": (
            "the {0} {1} of {2}",
            (_ADJECTIVES, _NOUNS, words("epithet", seed, max(200, counts["person"] // 2))),
        ),
        "old name": ("{0}{1}{2}{3}", (_HEADS, _HEARTS, _TAILS, _OLD_ENDS)),
        "river": ("{0}", (words("river", seed, 1_000),)),
    }
    return {kind: Namer.of(kind, seed, pattern, *digits) for kind, (pattern, digits) in make.items()}
