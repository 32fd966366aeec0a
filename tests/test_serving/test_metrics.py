"""Prometheus' text format, by its description."""

from mmdetr.serving.metrics import Counter, Histogram, Metrics


def test_counter() -> None:
    counter = Counter('a_total', 'Of a.', ('path', 'status'))
    for status in ('200', '503', '200'):
        counter.add('/predict', status)
    assert counter.lines() == [
        '# HELP a_total Of a.',
        '# TYPE a_total counter',
        'a_total{path="/predict",status="200"} 2',
        'a_total{path="/predict",status="503"} 1',
    ]


def test_buckets_are_cumulative_and_hold_their_bound() -> None:
    histogram = Histogram('b', 'Of b.', (1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        histogram.add(value)
    assert histogram.lines() == [
        '# HELP b Of b.',
        '# TYPE b histogram',
        'b_bucket{le="1.0"} 2',
        'b_bucket{le="2.0"} 3',
        'b_bucket{le="+Inf"} 4',
        'b_sum 10.0',
        'b_count 4',
    ]


def test_all_of_them() -> None:
    metrics = Metrics({('c', 'Of c.'): lambda: 3})
    metrics.on_batch(4, 0.5)
    text = metrics.text()
    assert text.endswith('# HELP c Of c.\n# TYPE c gauge\nc 3\n')
    assert 'mmdetr_batch_size_sum 4' in text
    assert 'mmdetr_batch_seconds_bucket{le="0.5"} 1' in text
