from hypothesis import given
from hypothesis import strategies as st

from api.receivers.label_pool import pooled_spans
from tsdb.interface import LabelSpans

TEXTS = st.sampled_from(["a", "b", "é", "日", "\U0001f600", "\ufb00", "ab", "__name__"])
LABELS = st.lists(st.dictionaries(TEXTS, TEXTS | st.just(""), max_size=4), max_size=5)


def texts(spans):
    data = spans.data.tobytes()
    return [
        [
            (data[a:b], data[c:d])
            for a, b, c, d in spans.spans[spans.first[n] : spans.first[n + 1]].tolist()
        ]
        for n in range(spans.series_count)
    ]


@given(LABELS)
def test_the_labels_are_those_of_the_plain_way(label_sets):
    assert texts(pooled_spans(label_sets)) == texts(LabelSpans.from_labels(label_sets))
