"""What people should know of questions and answers before they believe the numbers, as lines for the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from common.errors import brief
from readers.questions import Questions
from tasks.answers import ANNOTATORS, ENOUGH, AnswerVocabulary, clean, normalise, to_the_letter

Answers = Mapping[str, Sequence[Sequence[str]]]  # what the annotators said to each question, by part
FEW = 0.5  # less of a part's questions being answerable is worth a line
MANY = 0.1  # more of them lost by their spelling is
LISTED = 5  # numbers of annotators
HOME = "visualqa.org"
IDS_PER_IMAGE = 1000  # VQA's question_id is 1000 * image_id + 0, 1, 2, ...


def annotators(answers: Answers) -> list[str]:
    """Which formula the accuracy is where other than ten people answered, and how many did.

    Nothing where one person answered each question, as in most data sets of one's own: accuracy is then what anybody
    takes it for, the share of right answers.
    """
    counts = Counter(len(given) for part in answers.values() for given in part)
    if len(counts) < 2 and counts.keys() <= {1, ANNOTATORS}:
        return []
    listed = [f"{n} {'answer' if n == 1 else 'answers'}: {many:,}" for n, many in counts.most_common(LISTED)]
    more = ", ..." if len(counts) > LISTED else ""
    return [
        f"note: not all questions of {' and '.join(answers)} have {ANNOTATORS} answers (questions with "
        f"{', '.join(listed)}{more}); the official accuracy is for {ANNOTATORS}: of n answers it is taken with "
        f"min({ENOUGH}, n - 1) in place of {ENOUGH}, and a single answer is right or wrong"
    ]


def coverage(answers: Answers, vocabulary: AnswerVocabulary, answer_min: int) -> list[str]:
    """The parts of which a network can answer less than half of the questions, or loses many by their spelling."""
    notes = []
    for part, given in answers.items():
        known = sum(any(normalise(one) in vocabulary.ids for one in people) for people in given) / len(given)
        if known < FEW:
            notes.append(
                f"note: the known answers ({len(vocabulary)}) cover {100 * known:.0f} % of {part}'s questions, no more "
                f"can be answered; known is what is the most common answer of more than {answer_min} questions, "
                "lower data.answer_min"
            )
        agreed = [clean(people[0]) for people in given if to_the_letter(people)]
        lost = [one for one in agreed if one not in vocabulary.ids and normalise(one) in vocabulary.ids]
        if len(lost) > MANY * len(given):
            notes.append(
                f"note: {len(lost):,} of {part}'s {len(given):,} questions score 0 whatever is answered: all "
                f"{ANNOTATORS} answers are spelled like {brief(lost[0])}, and the official accuracy compares "
                f"them to the letter; write {brief(normalise(lost[0]))}"
            )
    return notes


def is_vqa(questions: Questions, beside_vqa: bool) -> bool:
    """Whether questions are VQA v2's: numbered as those, in a file that says so in its head or stands beside them.

    Files of other data sets bear the same names, so these tell nothing.

    Args:
        questions: those of a part.
        beside_vqa: whether train or val have as many questions as VQA v2's.
    """
    numbered = bool((questions.ids // IDS_PER_IMAGE == questions.images).all())
    return numbered and (beside_vqa or HOME in questions.source)


def incomplete(part: str, questions: Questions, size: int, beside_vqa: bool) -> list[str]:
    """That the evaluation server refuses a submission of these questions, if they are VQA v2's but not all of them.

    Args:
        part: "test" or "test-dev".
        questions: those of the part.
        size: how many VQA v2 has.
        beside_vqa: whether train or val have as many questions as VQA v2's.
    """
    if len(questions.ids) == size or not is_vqa(questions, beside_vqa):
        return []
    return [
        f"warning: {part} has {len(questions.ids):,} questions, VQA v2 has {size:,}: the evaluation server refuses a "
        f"submission that is not complete; answer all questions of the released {questions.path.name}"
    ]
