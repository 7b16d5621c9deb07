"""What the benchmark of recall calls the best that anybody could do."""

from benchmarks.correlation_memory import at_best


def test_different_questions_can_all_be_answered():
    assert at_best(["a", "b", "c"], ["one", "two", "one"]) == 3


def test_one_question_has_one_answer_the_most_frequent():
    assert at_best(["a", "a", "a", "b"], ["one", "two", "two", "three"]) == 3
    assert at_best(["a", "a", "a"], ["one", "two", "three"]) == 1
