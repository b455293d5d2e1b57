"""A follow-up question made to stand alone by rules: pronouns, "what about ...", and halves of questions.

    What is the maximum power of the charger at Dunlin Yard? / And at Brannoch?
    -> What is the maximum power of the charger at Brannoch?
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ullage.models.lexical import analyze
from ullage.rag.question import KIND_WORDS, read_question
from ullage.rag.values import Value, names, values


@dataclass(frozen=True, slots=True)
class Before:
    """The question before, as it stands alone, and what was answered."""

    question: str
    answer: str = ""


_ASIDE = r"(?:ok(?:ay)?|thanks?|thank you|good|great|right|i see|yes|no|sure|please|well)"
_OPENING = re.compile(rf"^(?:{_ASIDE}\b[\s,.!-]*)*(?:(?:and|but|so|then|also|now)\b[\s,]*)*", re.I)
_ABOUT = re.compile(r"^(?:what|how) about\s+|^(?:the )?same (?:for|at|of|with)\s+", re.I)
_ASKS = re.compile(
    r"\b(?:what|which|who|whom|whose|when|where|why|how|is|are|was|were|do|does|did|can|could|may|must|should|will|"
    r"would|has|have|tell|give|name|list|show|explain|describe)\b", re.I)
_POSSESSIVE = re.compile(r"\b(?:its|their|his|her)\b(?=\s+\w)", re.I)
_PRONOUN = re.compile(r"\b(?:it|they|them|he|him|she|her)\b", re.I)
_POINTING = re.compile(
    r"\b(?:this|that|these|those)\b(?=\s*(?:\?|$|,)|\s+(?:one|ones|is|are|was|were|do|does|did|can|must|should|cost|"
    r"costs|mean|means|happen|happens|apply|applies|take|takes|need|needs)\b)(?:\s+ones?\b)?", re.I)
_POINTING_AT = re.compile(r"\b(?:this|that|these|those)\s+(?=[a-z])", re.I)
_THERE = re.compile(r"\b(?:there|then)\b(?=\s*(?:\?|$|,))", re.I)
_EMPTY_IT = re.compile(r"\b(?:does|do|did|will|would|can) it take\b|\bis it (?:possible|allowed|true|necessary)\b|"
                       r"\bit (?:is|was) (?:possible|allowed|true)\b", re.I)
_PREPOSITION = re.compile(
    r"^(?:at|in|on|for|from|to|of|with|by|during|after|before|under|over|between|into|without|per)\b", re.I)
_ARTICLE = r"(?:the|a|an|each|every|our|all|any)"
_STOP = (
    r"(?:is|are|was|were|be|do|does|did|can|could|may|might|must|shall|should|will|would|has|have|had|need|needs|cost|"
    r"costs|take|takes|run|runs|stop|stops|begin|begins|start|starts|get|gets|go|goes|come|comes|when|while|if|that|"
    r"which|who|and|or|but|allowed|required|used|made|kept|held|lend|pay|charge|replaced|collected|tested|paid|hired|called|stationed)"
)
_THING = re.compile(rf"\b{_ARTICLE}\s+(?:(?!{_STOP}\b)[\w'’/-]+(?:\s+|(?=\W|$))){{1,10}}", re.I)
_MARKS = re.compile(r"\s*\[\d+\]|According to [^:]{1,120}: ")
_HALVES = re.compile(r"\s+(?:at|in|on|for|from|to|with|by|during|after|before|under)\s+(?=[^?]*\??$)", re.I)
_MANY = re.compile(
    r"\bhow many ((?:[a-z][\w-]*\s+){1,3}?)(?:are|were|do|does|did|can|may|must|have|has|of|in|on|at)\b", re.I)
_MUCH = re.compile(r"\bhow (?:much|many) ([a-z][\w-]*)(?=\s+(?:in|on|at)\b)", re.I)
_MANY_PRONOUN = re.compile(r"\b(?:they|them|their|these|those)\b", re.I)
FEW_TERMS = 2
LONGEST_QUESTION = 1000
LONGEST_ANSWER = 4000
"""Characters; some patterns take time that grows with the square, and a text this long is no follow-up."""


def stand_alone(question: str, before: Before | None) -> str:
    """The question as it would be asked without what came before; unchanged when it needs nothing."""
    text = " ".join(question.split())
    if before is None or not before.question or max(len(text), len(before.question)) > LONGEST_QUESTION:
        return text
    opened = _OPENING.match(text)
    rest = text[opened.end() :] if opened else text
    if not rest:
        return text
    about = _ABOUT.match(rest)
    if about or not _ASKS.search(rest):
        return _asked_of(rest[about.end() :] if about else rest, before.question)
    topic = topic_of(rest, before)
    resolved = _resolved(rest, topic)
    if resolved != rest:
        return _capital(resolved)
    if ((opened and opened.end()) or len(rest.split()) <= 4) and topic and _lacks_a_thing(rest):
        return _capital(f"{rest.rstrip('?!. ')} for {topic}?")
    return text


def _lacks_a_thing(text: str) -> bool:
    asked = [term for term in analyze(text) if term not in KIND_WORDS]
    return not names(text) and len(asked) <= FEW_TERMS - 1


def _resolved(text: str, topic: str) -> str:
    if not topic:
        return text
    owner = f"{topic}'" if topic.endswith("s") else f"{topic}'s"
    for pattern, said in ((_POSSESSIVE, owner), (_PRONOUN, topic), (_POINTING, topic)):
        if pattern is _PRONOUN and _EMPTY_IT.search(text):
            continue
        if pattern.search(text):
            return pattern.sub(lambda _, said=said: said, text, count=1)  # type: ignore[misc]
    if match := _THERE.search(text):
        place = topic if _PREPOSITION.match(topic) else f"at {topic}"
        return text[: match.start()] + place + text[match.end() :]
    if (match := _POINTING_AT.search(text)) and not names(text):
        return f"{text[: match.start()]}the {text[match.end() :].rstrip('?!. ')} of {topic}?"
    if _EMPTY_IT.search(text) and _lacks_a_thing(text):
        return f"{text.rstrip('?!. ')} for {topic}?"
    return text


def topic_of(text: str, before: Before) -> str:
    """What a pronoun of `text` means: the one that the answer named, else the thing the question before was about."""
    asked = read_question(before.question)
    if "name" in asked.wanted and re.search(r"\b(?:they|them|their|he|him|his|she|her|it|its)\b", text, re.I):
        known = before.question.lower()
        given = [name for name in names(_MARKS.sub(" ", before.answer[:LONGEST_ANSWER])) if name.key not in known]
        if given:
            return given[0].text
    counted = _MANY.search(before.question) if _MANY_PRONOUN.search(text) else None
    if counted and set(analyze(counted[1])) - KIND_WORDS:
        return counted[1].strip()
    things = [_trimmed(match.group()) for match in _THING.finditer(before.question)]
    things = [thing for thing in things if thing and set(analyze(thing)) - KIND_WORDS]
    named = names(before.question)
    with_name = [thing for thing in things if any(name.text in thing for name in named)]
    if with_name:
        return with_name[-1]
    if named and not things:
        return named[-1].text
    if things:
        return things[0] if len(things) == 1 or not named else f"{things[0]} of {named[-1].text}"
    subject = [word for word in re.findall(r"[\w'’-]+", before.question) if set(analyze(word)) - KIND_WORDS]
    return " ".join(subject)


def _trimmed(thing: str) -> str:
    """`the maximum power of the charger at X` is about the charger at X."""
    thing = " ".join(thing.split()).rstrip(" ?.,")
    head, of, tail = thing.partition(" of ")
    if of and (not (set(analyze(head)) - KIND_WORDS) or re.match(rf"{_ARTICLE}\s", tail, re.I)):
        return tail
    return re.sub(r"\s+(?:at|in|on|for|from|to|of|with|by)$", "", thing)


def _asked_of(thing: str, question: str) -> str:
    """The question before, asked of another thing: it takes the place of the one most like it."""
    thing = thing.strip(" ?!.,")
    preposition = _PREPOSITION.match(thing)
    bare = thing[preposition.end() :].strip() if preposition else thing
    if (place := _alike(bare, question)) is not None:
        start, end = place
        article = re.search(rf"\b{_ARTICLE}\s+$", question[:start], re.I)
        if article and re.match(rf"{_ARTICLE}\b", bare, re.I):
            start = article.start()
        return question[:start] + bare + question[end:]
    if preposition and (half := _last(_HALVES, question)) is not None:
        return f"{question[:half].rstrip(' ?')} {thing}?"
    if preposition is None and " " not in bare and (much := _MUCH.search(question)):
        return question[: much.start(1)] + bare + question[much.end(1) :]
    if preposition is None and (match := _similar_thing(bare, question)) is not None:
        return question[: match.start()] + bare + question[match.start() + len(match.group().rstrip(" ?.,")) :]
    joint = thing if preposition else f"for {thing}"
    return f"{question.rstrip('?!. ')} {joint}?"


def _alike(thing: str, question: str) -> tuple[int, int] | None:
    """Where the question has a name, or a value of the same kind as `thing`."""
    said = f"of {thing}"
    given = [value.kind for value in values(said)] or ["name" for _ in names(said)]
    if not given:
        return None
    found: list[Value] = names(question) if given[0] == "name" else [
        value for value in values(question) if value.kind == given[0]]
    if not found:
        return None
    before = re.search(r"(?:\b[A-Z][\w-]*\s+)*$", question[: found[-1].start])
    after = re.match(r"(?:\s+[A-Z0-9][\w-]*)*", question[found[-1].end :])
    assert before is not None
    assert after is not None
    start = before.start() if before.start() else found[-1].start  # the first word of a question is no name
    return start, found[-1].end + after.end()


def _similar_thing(thing: str, question: str) -> re.Match[str] | None:
    """The thing of the question that shares a word with this one, else the last it names."""
    wanted = set(analyze(thing))
    found = list(_THING.finditer(question))
    shared = [match for match in found if wanted & set(analyze(match.group()))]
    chosen = shared or found
    return chosen[-1] if chosen else None


def _last(pattern: re.Pattern[str], text: str) -> int | None:
    found = [match.start() for match in pattern.finditer(text)]
    return found[-1] if found else None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
