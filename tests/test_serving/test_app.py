"""The service's addresses, in this process."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('fastapi')
pytest.importorskip('httpx')

from pycocotools import mask as coco_mask
from starlette.testclient import TestClient

from mmdetr.apis import inference_detector
from mmdetr.serving.app import create_app
from mmdetr.serving.service import Service
from mmdetr.serving.settings import Settings
from mmdetr.serving.torch_predictor import TorchPredictor
from tests.helpers.hostile import HOSTILE, damaged_uploads
from tests.helpers.serving import (
    CLASSES,
    MASKS,
    FakePredictor,
    encode,
    noise,
    write_detector,
)


@contextmanager
def client_of(predictor: Any, **settings: Any) -> Iterator[TestClient]:
    app = create_app(Service(predictor, Settings(**settings)))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope='module')
def detector(tmp_path_factory: Any) -> TorchPredictor:
    files = write_detector(tmp_path_factory.mktemp('detector'))
    return TorchPredictor.from_files(*files, device='cpu')


@pytest.fixture(scope='module')
def client(detector: TorchPredictor) -> Iterator[TestClient]:
    with client_of(detector) as client:
        yield client


@pytest.fixture(scope='module')
def fake() -> Iterator[TestClient]:
    with client_of(FakePredictor(), max_wait=0) as client:
        yield client


def sorted_detections(model: Any, image: Any, score_thr: float = 0.0) -> dict[str, Any]:
    found = inference_detector(model, image).pred_instances
    found = found[found.scores >= score_thr]
    found = found[found.scores.argsort(descending=True, stable=True)]
    names = [CLASSES[label] for label in found.labels]
    lists = {key: found[key].tolist() for key in ('scores', 'labels', 'queries')}
    return dict(lists, boxes=found.bboxes.tolist(), names=names)


# --- /predict ---


@pytest.mark.parametrize('form', [True, False], ids=['form', 'body'])
def test_equals_inference_detector(
    client: TestClient, detector: TorchPredictor, form: bool
) -> None:
    content = encode(noise(60, 80))
    upload: dict[str, Any] = dict(files=dict(image=content)) if form else dict(content=content)
    answer = client.post('/predict?score_thr=0', **upload)
    assert answer.status_code == 200, answer.text
    record = answer.json()
    assert (record.pop('width'), record.pop('height')) == (80, 60)
    assert record.pop('score_thr') == 0
    expected = sorted_detections(detector._model, content)
    assert len(expected['names']) == 6
    for key in ('boxes', 'scores'):
        np.testing.assert_allclose(record.pop(key), expected.pop(key), rtol=1e-5, atol=1e-4)
    assert record == expected


def test_boxes_are_of_the_upright_image(client: TestClient, detector: TorchPredictor) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(noise(60, 80), exif=exif)
    record = client.post('/predict?score_thr=0', content=content).json()
    assert (record['width'], record['height']) == (60, 80)
    expected = sorted_detections(detector._model, content)
    np.testing.assert_allclose(record['boxes'], expected['boxes'], rtol=1e-5, atol=1e-4)


def test_least_score(client: TestClient, detector: TorchPredictor) -> None:
    content = encode(noise(60, 80))
    middle = sorted_detections(detector._model, content)['scores'][2]
    record = client.post('/predict', params=dict(score_thr=middle - 1e-6), content=content).json()
    assert len(record['scores']) == 3
    equal = dict(score_thr=record['scores'][2])
    assert client.post('/predict', params=equal, content=content).json()['boxes'] == record['boxes']
    assert client.post('/predict?score_thr=1', content=content).json()['boxes'] == []
    for wrong in ('1.1', '-0.1', 'nan', 'inf', 'x'):
        assert client.post(f'/predict?score_thr={wrong}', content=content).status_code == 422


def test_a_detector_may_recommend_a_least_score() -> None:
    predictor = FakePredictor()
    predictor.score_thr = 0.4
    with client_of(predictor) as client:
        content = encode(noise())
        assert client.post('/predict', content=content).json()['score_thr'] == 0.4
        assert client.post('/predict?score_thr=0.1', content=content).json()['score_thr'] == 0.1
        assert client.get('/model').json()['score_thr'] == 0.4


def test_a_detector_may_have_a_least_score_of_each_class() -> None:
    predictor = FakePredictor()
    score = float(noise().mean()) / 255
    content = encode(noise())
    for threshold, count in ((score - 0.01, 1), (score + 0.01, 0)):
        predictor.score_thr, predictor.thresholds = 1 - count, [threshold]
        with client_of(predictor) as client:
            assert client.get('/model').json()['thresholds'] == [threshold]
            record = client.post('/predict', content=content).json()
            assert (record['score_thr'], len(record['scores'])) == (None, count)
            record = client.post('/predict?score_thr=0', content=content).json()
            assert (record['score_thr'], len(record['scores'])) == (0, 1)


def test_concurrent_requests_are_computed_together(
    detector: TorchPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives while the model computes is computed next, by size."""
    begun, go_on, predict = threading.Event(), threading.Event(), detector.predict

    def held(batch: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return predict(batch)

    monkeypatch.setattr(detector, 'predict', held)
    contents = [encode(noise(60, 80, seed)) for seed in range(5)]
    contents += [encode(noise(80, 50, 7))]  # of another size
    with client_of(detector, max_batch=4, max_wait=0, decoders=4) as client:
        answers: list[Any] = [None] * len(contents)

        def ask(number: int) -> None:
            answers[number] = client.post('/predict?score_thr=0', content=contents[number])

        def wait_for(line: str) -> str:
            deadline = time.monotonic() + 60
            while line not in (figures := client.get('/metrics').text):
                assert time.monotonic() < deadline, figures
                time.sleep(0.01)
            return figures

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(contents))]
        threads[0].start()
        assert begun.wait(60)
        for thread in threads[1:]:
            thread.start()
        wait_for('mmdetr_queue_length 5\n')
        go_on.set()
        for thread in threads:
            thread.join()
        # A batch is counted after its answers are given.
        figures = wait_for('mmdetr_batch_size_bucket{le="4.0"} 3\n')
    assert 'mmdetr_batch_size_bucket{le="2.0"} 2\n' in figures
    for content, answer in zip(contents, answers, strict=True):
        expected = sorted_detections(detector._model, content)
        np.testing.assert_allclose(answer.json()['boxes'], expected['boxes'], atol=1e-3)
        np.testing.assert_allclose(answer.json()['scores'], expected['scores'], atol=1e-5)


def test_masks_and_segments(tmp_path: Path) -> None:
    panoptic = dict(type='PanopticSegmentation', things=2, score_thr=0.0)
    files = write_detector(tmp_path, **MASKS, panoptic=panoptic)
    predictor = TorchPredictor.from_files(*files, device='cpu')
    content = encode(noise(60, 80))
    with client_of(predictor) as client:
        record = client.post('/predict?score_thr=0', content=content).json()
    sample = inference_detector(predictor._model, content)
    assert len(record['masks']) == len(record['boxes']) == 6
    for mask, query in zip(record['masks'], record['queries'], strict=True):
        expected = coco_mask.decode(sample.pred_instances.masks[query])
        assert mask['size'] == [60, 80]
        np.testing.assert_array_equal(coco_mask.decode(mask), expected)
    assert len(record['segments']) == len(sample.pred_panoptic.segments)
    for segment in record['segments']:
        mask = coco_mask.decode(segment['mask'])
        np.testing.assert_array_equal(mask, sample.pred_panoptic.ids == segment['id'])
        assert segment['name'] == CLASSES[segment['label']]


# --- what is refused ---


@pytest.mark.parametrize('name', HOSTILE)
@pytest.mark.parametrize('form', [True, False], ids=['form', 'body'])
def test_hostile_uploads(fake: TestClient, name: str, form: bool) -> None:
    content, statuses = HOSTILE[name]
    upload: Any = dict(files=dict(image=content())) if form else dict(content=content())
    answer = fake.post('/predict', **upload)
    assert answer.status_code in statuses, answer.text
    assert set(answer.json()) == {'detail'}


def test_damaged_uploads_get_an_answer(fake: TestClient) -> None:
    statuses = [fake.post('/predict', content=each).status_code for each in damaged_uploads(90)]
    assert set(statuses) <= {200, 413, 415, 422}
    assert statuses.count(200) < 30  # noise in a pixel leaves an image


@pytest.mark.parametrize(
    'upload',
    [
        dict(data=dict(image='text')),
        dict(files=[('a', b'1'), ('b', b'2')]),
        dict(content=b'--x', headers={'Content-Type': 'multipart/form-data'}),
        dict(content=b'garbage', headers={'Content-Type': 'multipart/form-data; boundary=x'}),
        dict(
            content=b'--x\r\nContent-Disposition: form-data; name="' + b'a' * 9000 + b'"\r\n\r\n',
            headers={'Content-Type': 'multipart/form-data; boundary=x'},
        ),
    ],
)
def test_forms_without_one_file(fake: TestClient, upload: dict) -> None:
    answer = fake.post('/predict', **upload)
    assert answer.status_code in (400, 415), answer.text


def test_too_many_bytes() -> None:
    content = encode(noise(60, 80))

    def stream() -> Iterator[bytes]:  # without Content-Length
        yield from (content[i : i + 1000] for i in range(0, len(content), 1000))

    with client_of(FakePredictor(), max_bytes=len(content)) as client:
        for upload in (dict(content=content), dict(content=stream()), dict(files=dict(a=content))):
            assert client.post('/predict', **upload).status_code == 200
    with client_of(FakePredictor(), max_bytes=len(content) - 1) as client:
        for upload in (dict(content=content), dict(content=stream()), dict(files=dict(a=content))):
            assert client.post('/predict', **upload).status_code == 413


def test_too_many_pixels() -> None:
    with client_of(FakePredictor(), max_pixels=4799) as client:
        answer = client.post('/predict', content=encode(noise(60, 80)))
    assert answer.status_code == 413
    assert '80 x 60 pixels' in answer.json()['detail']


def test_image_that_the_model_cannot_take(fake: TestClient) -> None:
    answer = fake.post('/predict', content=encode(noise(50, 1)))
    assert answer.status_code == 422
    assert '1 x 50 pixels: too narrow' in answer.json()['detail']


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (1, 700), (700, 1)])
def test_extreme_shapes(client: TestClient, height: int, width: int) -> None:
    answer = client.post('/predict', content=encode(noise(height, width)))
    assert answer.status_code in (200, 422), answer.text


# --- load ---


def test_beyond_the_queue() -> None:
    predictor = FakePredictor()
    predictor.go_on.clear()
    content = encode(noise())
    answers: list[int] = []
    with client_of(predictor, queue=3, max_batch=1) as client:

        def ask() -> None:
            answers.append(client.post('/predict', content=content).status_code)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        while 'mmdetr_requests_accepted 3' not in client.get('/metrics').text:
            time.sleep(0.01)
        for path in ('/predict', '/attention?query=0'):
            refused = client.post(path, content=content)
            assert refused.status_code == 503
            assert 1 <= int(refused.headers['Retry-After']) <= 60
            assert refused.json()['detail'].startswith('the service is busy')
        assert client.get('/health').status_code == 200
        predictor.go_on.set()
        for thread in threads:
            thread.join()
        assert answers == [200] * 3
        assert client.post('/predict', content=content).status_code == 200


def test_answers_that_take_too_long() -> None:
    predictor = FakePredictor()
    predictor.go_on.clear()
    with client_of(predictor, timeout=1.0, max_batch=1) as client:
        assert client.get('/health').json() == dict(status='ok')
        answer = client.post('/predict', content=encode(noise()))
        assert (answer.status_code, answer.json()['detail']) == (504, 'the answer took too long')
        assert client.post('/predict', content=encode(noise())).status_code == 504
        assert client.get('/health').status_code == 503  # one batch for two seconds
        predictor.go_on.set()
        while client.get('/health').status_code == 503:
            time.sleep(0.01)
    assert len(predictor.batches) == 1  # nobody waited for the second any more


def test_errors_of_the_model_are_ours(caplog: pytest.LogCaptureFixture) -> None:
    predictor = FakePredictor()

    def fail(batch: Any) -> Any:
        raise ValueError('secret')

    predictor.predict = fail  # type: ignore[method-assign]
    with client_of(predictor) as client:
        answer = client.post('/predict', content=encode(noise()))
        assert answer.status_code == 500
        assert 'secret' not in answer.text
        assert 'secret' in caplog.text
        assert 'mmdetr_requests_total{path="/predict",status="500"} 1' in (
            client.get('/metrics').text
        )


# --- the rest ---


def test_attention(client: TestClient) -> None:
    content = encode(noise(60, 80))
    record = client.post('/attention?query=2', content=content).json()
    assert record['kind'] == 'map'
    assert np.shape(record['values']) == (record['height'], record['width'])
    assert np.max(record['values']) == 1
    assert client.post('/attention?query=6', content=content).status_code == 422
    assert client.post('/attention', content=content).status_code == 422
    assert client.get('/model').json()['attention'] == 'map'


def test_attention_that_cannot_be_shown() -> None:
    predictor = FakePredictor()
    predictor.attention = None
    with client_of(predictor) as client:
        answer = client.post('/attention?query=0', content=encode(noise()))
    assert answer.status_code == 422
    assert 'shows no attention' in answer.json()['detail']


def test_token() -> None:
    with client_of(FakePredictor(), token='geheim') as client:
        for method, path in (
            ('POST', '/predict'),
            ('POST', '/attention?query=0'),
            ('GET', '/metrics'),
            ('GET', '/model'),
        ):
            for given in ({}, {'Authorization': 'Bearer other'}, {'Authorization': 'geheim'}):
                answer = client.request(method, path, headers=given)
                assert answer.status_code == 401
                assert answer.headers['WWW-Authenticate'] == 'Bearer'
        for path in ('/', '/docs', '/health', '/openapi.json'):
            assert client.get(path).status_code == 200
        allowed = {'Authorization': 'Bearer geheim'}
        assert client.get('/model', headers=allowed).status_code == 200
        answer = client.post('/predict', content=encode(noise()), headers=allowed)
        assert answer.status_code == 200


def test_openapi_says_what_is_taken_and_given(fake: TestClient) -> None:
    api = fake.get('/openapi.json').json()
    predict = api['paths']['/predict']['post']
    assert set(predict['requestBody']['content']) == {'multipart/form-data', 'image/*'}
    assert {'200', '400', '401', '408', '413', '415', '422', '503', '504'} <= set(
        predict['responses']
    )
    record = fake.post('/predict?score_thr=0', content=encode(noise())).json()
    schema = api['components']['schemas']['Prediction']
    assert set(record) <= set(schema['properties'])
    assert set(schema['required']) <= set(record)


@pytest.mark.parametrize('path', ['/', '/docs'])
def test_pages_are_complete_in_themselves(fake: TestClient, path: str) -> None:
    answer = fake.get(path)
    policy = answer.headers['Content-Security-Policy']
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert 'unsafe' not in policy
    links = [word for word in answer.text.split() if 'http' in word]
    assert all('www.w3.org/2000/svg' in link for link in links), links
    assert answer.headers['X-Content-Type-Options'] == 'nosniff'


def test_huge_heads(fake: TestClient) -> None:
    for options in (dict(headers={'X-Large': 'a' * 20_000}), dict(params=dict(a='a' * 20_000))):
        assert fake.get('/health', **options).status_code == 431


def test_metrics_count_by_path_and_status() -> None:
    with client_of(FakePredictor()) as client:
        client.post('/predict', content=encode(noise()))
        client.post('/predict', content=b'no image')
        client.get('/a/path/of/a/stranger')
        figures = client.get('/metrics')
    assert figures.headers['Content-Type'].startswith('text/plain; version=0.0.4')
    for line in (
        'mmdetr_requests_total{path="/predict",status="200"} 1',
        'mmdetr_requests_total{path="/predict",status="415"} 1',
        'mmdetr_requests_total{path="other",status="404"} 1',
        'mmdetr_request_seconds_count 2',
        'mmdetr_batch_size_count 1',
    ):
        assert f'{line}\n' in figures.text
    assert json.dumps('stranger') not in figures.text
