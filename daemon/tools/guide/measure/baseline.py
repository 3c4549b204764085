"""The baseline beside the model: which training questions have the same words, weighed by how rare they are (TF-IDF).

It knows texts and names of answers. A classifier that cannot write: it picks one of the answers.
"""

from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_union
from tools.guide.model.samples import Samples, answer
from tools.guide.model.tokens import plain

CHUNKS = 5
"""More of them take long and change little: it has seen most words by then."""


def answers(samples: Samples, questions: Sequence[str], chunks: int = CHUNKS) -> list[str]:
    """Its answers, after so many chunks of the same training questions."""
    drawn = [row for number in range(chunks) for row in samples.chunk(number)]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), min_df=3, sublinear_tf=True)
    seen = make_union(words, letters)
    model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=6, tol=None, random_state=samples.seed)
    model.fit(seen.fit_transform([text for text, _ in drawn]), [name for _, name in drawn])
    return [answer(name) for name in model.predict(seen.transform([plain(text) for text in questions]))]
