"""How questions speak of relations: as a noun phrase, and as a question; `{x}` is whom or what they are about."""

NOUN: dict[str, tuple[str, ...]] = {
    "birthplace": ("the birthplace of {x}", "the city in which {x} was born"),
    "teacher": ("the teacher of {x}", "the person who taught {x}"),
    "school": ("the institution at which {x} studied", "the place of study of {x}"),
    "employer": ("the employer of {x}", "the organisation that {x} worked for"),
    "spouse": ("the spouse of {x}", "the person married to {x}"),
    "country": ("the country in which {x} lies", "the country that {x} belongs to"),
    "architect": ("the architect of the town hall of {x}", "the designer of the town hall in {x}"),
    "capital": ("the capital of {x}",),
    "president": ("the first president of {x}",),
    "founder": ("the founder of {x}", "the person who founded {x}"),
    "office": ("the city where {x} now has its head office", "the city of the present head office of {x}"),
    "parent": ("the parent company of {x}", "the company that owns {x}"),
    "school place": ("the city in which {x} has its seat", "the city of {x}"),
    "event place": ("the city in which the {x} was held", "the city that was host to the {x}"),
    "creator": ("the creator of {x}", "the author of {x}"),
    "setting": ("the city in which {x} is set", "the scene of {x}"),
    "publisher": ("the publisher of {x}", "the company that published {x}"),
    "dedicatee": ("the person to whom {x} is dedicated",),
    "winner": ("the winner of the {x}", "the person honoured at the {x}"),
    "organiser": ("the organiser of the {x}",),
}

QUESTION: dict[str, tuple[str, ...]] = {
    "birthplace": ("In which city was {x} born?", "Where was {x} born?"),
    "teacher": ("Who taught {x}?", "Under whom did {x} learn the trade?"),
    "school": ("Where did {x} study?", "At which institution was {x} a student?"),
    "employer": ("For which organisation did {x} work?", "Who employed {x}?"),
    "spouse": ("To whom was {x} married?", "Who was the spouse of {x}?"),
    "country": ("In which country does {x} lie?",),
    "architect": ("Who designed the town hall of {x}?", "Which architect designed the town hall of {x}?"),
    "capital": ("What is the capital of {x}?",),
    "president": ("Who was the first president of {x}?",),
    "founder": ("Who founded {x}?", "By whom was {x} founded?"),
    "office": ("In which city does {x} have its head office now?", "Where is the present head office of {x}?"),
    "parent": ("Which company owns {x}?", "To which parent company does {x} belong?"),
    "school place": ("In which city is {x}?", "Where is {x} situated?"),
    "event place": ("In which city was the {x} held?",),
    "creator": ("Who created {x}?", "Who is the author of {x}?"),
    "setting": ("In which city is {x} set?", "Which city is the scene of {x}?"),
    "publisher": ("Which company published {x}?", "Who was the publisher of {x}?"),
    "dedicatee": ("To whom is {x} dedicated?",),
    "winner": ("Who won the {x}?", "Who took the first prize of the {x}?"),
    "organiser": ("Who organised the {x}?",),
    "born": ("In which year was {x} born?", "What is the year of birth of {x}?"),
    "died": ("In which year did {x} die?",),
    "founded": ("In which year was {x} founded?", "What is the founding year of {x}?"),
    "work year": ("In which year did {x} first appear?", "From which year is {x}?"),
    "event year": ("In which year was the {x} held?", "In which year did the {x} take place?"),
    "river": ("On which river does {x} lie?", "What is the name of the river at {x}?"),
}

LEADS = (
    *("", "Please find out: ", "I would like to know: ", "A reader asks: ", "Look this up: ", "One more question. "),
    *("For a quiz: ", "Help me with this. ", "According to the encyclopaedia: ", "Question: ", "Can you tell me? "),
    *("This came up today: ", "We could not agree on this. ", "For my notes: ", "Somebody wanted to know: "),
    *("The question is: ", "Here is a riddle. ", "A letter to the editors asks: ", "For the record: ", "Next: "),
    *("To settle a bet: ", "From the reading room: ", "A student asks: ", "For an index card: "),
)
"""What may stand before a question."""
OFFICE = {"head": "was the head of {x}", "mayor": "was the mayor of {x}"}
TABLE = {"population": "inhabitants did {x} have", "staff": "persons did {x} employ"}
OFFERED: dict[str, tuple[str, ...]] = {
    "country": ("capital", "president"),
    "city": ("country", "architect", "founded", "river"),
    "person": ("birthplace", "teacher", "school", "employer", "spouse", "born", "died"),
    "company": ("founder", "office", "parent", "founded"),
    "school": ("founder", "place", "founded"),
    "work": ("creator", "setting", "publisher", "dedicatee", "year"),
    "event": ("place", "winner", "organiser", "year"),
}
"""What may be asked of each kind."""


def wordings(table: dict[str, tuple[str, ...]], kind: str, relation: str) -> tuple[str, ...]:
    """How to speak of a relation of a kind."""
    return table.get(f"{kind} {relation}") or table[relation]
