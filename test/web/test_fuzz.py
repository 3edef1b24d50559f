"""The HTTP API under generated requests, good and bad, by its own OpenAPI document."""

from __future__ import annotations

import re

import pytest
import schemathesis
from fakes import BrightnessEstimator
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from web_pictures import bomb, gif_file, jpeg_file, png_file, ramp

from midas_depth_ros.web.access import Access
from midas_depth_ros.web.app import Dashboard, Robot
from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.limits import Limits

pytestmark = pytest.mark.thorough

EXAMPLES = 25
# The API is fuzzed, not the rate limits.
ENDLESS = Limits(
    predictions_per_s=1e6,
    prediction_burst=10**6,
    renderings_per_s=1e6,
    rendering_burst=10**6,
    changes_per_s=1e6,
    change_burst=10**6,
)
PICTURE = ramp()
GOOD = [png_file(PICTURE), jpeg_file(PICTURE), jpeg_file(PICTURE, 6)]
BAD = [b'', bomb(), gif_file(PICTURE), GOOD[0][:-40], GOOD[1][:300]]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
    unsupported_method,
]


class PickyRobot(Robot):
    """Accepts numbers, refuses texts."""

    async def set_parameter(self, name, value):
        if isinstance(value, str):
            raise Refused(409, f'{name}: a text is refused')

    async def set_enabled(self, enabled):
        if not enabled:
            raise Refused(409, 'not now')


@st.composite
def damaged(draw) -> bytes:
    """A picture file with some bytes changed."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 5))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


schemathesis.openapi.format(
    'binary', st.one_of(st.sampled_from(GOOD + BAD), damaged(), st.binary(max_size=300))
)
DASHBOARD = Dashboard(
    BrightnessEstimator,
    robot=PickyRobot(),
    access=Access.of('127.0.0.1', further=('testserver',)),
    limits=ENDLESS,
)
KNOWN, _ = DASHBOARD.pictures.predict(GOOD[0])
schema = schemathesis.openapi.from_asgi('/openapi.json', DASHBOARD.asgi)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_a_documented_one(case):
    if (
        'identifier' in (case.path_parameters or {})
        and case.path_parameters['identifier'][:1] < '8'
    ):
        case.path_parameters['identifier'] = KNOWN.identifier  # otherwise none would ever be found
    answer = case.call()
    case.validate_response(answer, checks=CHECKS)
    assert not re.search(rb'Traceback|File "|/midas_depth_ros/', answer.content)


def test_the_document_names_every_way_in():
    assert set(schema.raw_schema['paths']) == {
        '/api/about',
        '/api/enabled',
        '/api/parameters',
        '/api/parameters.yaml',
        '/api/predict',
        '/api/results/{identifier}/depth.npy',
        '/api/results/{identifier}/{view_name}.png',
        '/api/state',
        '/api/status',
    }
    image = schema.raw_schema['paths']['/api/predict']['post']['requestBody']['content']
    assert set(image) == {'multipart/form-data'}
