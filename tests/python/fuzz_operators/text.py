"""Operators on strings."""

import numpy as np

from fuzz_values import WORDS
from .registry import Call, maybe, operator


@operator("StringConcat")
def string_concat(d):
    a, b = d.broadcast(2)
    return Call([d.tensor(a), d.tensor(b)])


@operator("StringSplit")
def string_split(d):
    return Call([d.tensor(d.shape(1, 2, 60))], maybe(d, delimiter=d.pick([" ", "b", ""]), maxsplit=d.int(1, 3)), 2)


@operator("StringNormalizer", since=10)
def string_normalizer(d):
    attributes = maybe(d, case_change_action=d.pick(["LOWER", "UPPER", "NONE"]), is_case_sensitive=d.int(0, 1))
    attributes["locale"] = "C"
    # In the locale of C, no letters but those of ASCII have two cases.
    words = [d.pick([word for word in WORDS if word.isascii()]) for _ in range(d.int(1, 9))]
    return Call([np.array(words, object)], attributes | maybe(d, stopwords=["a", "Abc", "ZZ"]))


@operator("RegexFullMatch")
def regex_full_match(d):
    return Call([d.tensor(d.shape(0, 2, 60))], {"pattern": d.pick([r"[a-z]+", r".*b.*", r"\d", r"(a|b)+", r"^a$"])})


@operator("TfIdfVectorizer", dtypes=("int32", "int64"))
def tf_idf(d):
    grams = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7]
    attributes = {
        "mode": d.pick(["TF", "IDF", "TFIDF"]),
        "min_gram_length": 1,
        "max_gram_length": d.int(1, 2),
        "max_skip_count": d.int(0, 3),
        "ngram_counts": [0, 4],
        "ngram_indexes": list(range(7)),
        "pool_int64s": grams,
    } | maybe(d, weights=[d.uniform(0.5, 2) for _ in range(7)])
    shape = [d.int(1, 12)] if d.chance(0.5) else [d.int(1, 3), d.int(1, 12)]
    return Call([d.whole(shape, d.dtype, 2, 8)], attributes)
