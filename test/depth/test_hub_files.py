"""Files as Hugging Face's hub has them: transformers' names, its cache, and its redirects."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_networks import TOLERANCE, deviation
from safetensors_writer import hollow_safetensors, write_safetensors
from weights_server import CONTENT, HALF, IMPATIENT, OTHER, Answer, own_home, serving

from midas_depth_ros.depth import load_estimator, models, weights
from midas_depth_ros.depth.errors import WeightsMismatch, WeightsNotFound
from midas_depth_ros.depth.weights import candidate_paths, find_weights
from midas_depth_ros.depth.weights_file import FileState, WeightsFile

SMALL = {  # blocks that the decoder takes, and metres of the farthest
    'depth_anything_v2_small': ([3, 6, 9, 12], None),
    'depth_anything_v1_small': ([9, 10, 11, 12], None),
    'depth_anything_v2_metric_indoor_small': ([3, 6, 9, 12], 20),
    'depth_anything_v2_metric_outdoor_small': ([3, 6, 9, 12], 80.0),
}


def config(taps: Any, farthest_m: float | None, **more: Any) -> dict[str, Any]:
    """What transformers writes into config.json, as far as it matters."""
    kind = (
        {} if farthest_m is None else {'depth_estimation_type': 'metric', 'max_depth': farthest_m}
    )
    return {'model_type': 'depth_anything', 'backbone_config': {'out_indices': taps}} | kind | more


Shapes = dict[str, list[int]]


@pytest.fixture(scope='module')
def shapes(golden_dir: Path) -> Shapes:
    """The entries of a small network under transformers' names."""
    found: Shapes = json.loads((golden_dir / 'transformers_names.json').read_text())
    return found


def weight(name: str, shape: list[int]) -> np.ndarray:
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    factor = name.endswith('lambda1') or (name.endswith('.weight') and len(shape) == 1)
    narrow = len(shape) == 1 or ('embeddings' in name and len(shape) < 4)
    std = 0.1 if narrow else float(np.prod(shape[1:])) ** -0.5
    return (factor + np.float32(std) * drawn.astype(np.float32)).astype(np.float32)


def lay(folder: Path, shapes: Shapes, about: Any = None, name: str = 'model.safetensors') -> Path:
    folder.mkdir(exist_ok=True)
    if about is not None:
        text = about if isinstance(about, str) else json.dumps(about)
        (folder / 'config.json').write_text(text)
    return hollow_safetensors(folder / name, shapes)


@pytest.mark.thorough
def test_it_gives_what_transformers_gives(tmp_path: Path, shapes: Shapes, golden_dir: Path) -> None:
    torch = pytest.importorskip('torch')
    path = lay(tmp_path, shapes, config(*SMALL['depth_anything_v2_small']))
    write_safetensors(path, {name: weight(name, shape) for name, shape in shapes.items()})
    spec = models.spec_of(path)
    arrays = models.read_arrays(path)
    assert {key: array.shape for key, array in arrays.items()} == spec.shapes
    network = spec.module().eval()
    tensors = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
    network.load_state_dict(spec.rename(tensors))
    noise = np.random.RandomState(518).uniform(-2, 2, (1, 3, 518, 518)).astype(np.float32)
    with torch.inference_mode():
        found = np.asarray(network(torch.from_numpy(noise))[0])
    with np.load(golden_dir / 'transformers_output.npz') as archive:
        assert deviation(found[::37, ::37], archive['every_37']) < TOLERANCE


@pytest.mark.parametrize('name', SMALL)
def test_the_config_beside_it_tells_which_network_it_is(
    tmp_path: Path, shapes: Shapes, name: str
) -> None:
    path = lay(tmp_path / 'snapshot', shapes, config(*SMALL[name]))
    assert models.spec_of(path) is models.spec(name)
    # By its folder, too, and as stages instead of numbers.
    taps, farthest_m = SMALL[name]
    backbone = {'out_features': [f'stage{tap}' for tap in taps]}
    lay(tmp_path / 'snapshot', shapes, config(taps, farthest_m, backbone_config=backbone))
    assert models.find_weights(str(tmp_path / 'snapshot')) == path
    assert models.spec_of(path) is models.spec(name)
    assert models.name_of(path) == 'snapshot'


@pytest.mark.parametrize(
    'about',
    [
        config([3, 6, 9, 12], 30),  # no network here is trained up to 30 m
        config([3, 6, 9, 12], None, max_depth=20, depth_estimation_type='metrical'),
        config([5, 12, 18, 24], None),
        config([3, 6, 9], None),
        config(None, None),
        config([3, 6, 9, 12], None, backbone_config=[3]),
        config([3, 6, 9, 12], None, model_type='zoedepth'),
    ],
)
def test_a_config_of_another_network_is_refused(tmp_path: Path, shapes: Shapes, about: Any) -> None:
    path = lay(tmp_path, shapes, about, name='depth_anything_v2_small.safetensors')
    with pytest.raises(WeightsMismatch, match=r'config\.json describes another network') as caught:
        load_estimator(path)
    assert 'depth_anything_v2_vits.pth for Depth Anything V2 small' in str(caught.value)


@pytest.mark.parametrize('about', [None, '', '[]', '{}', '{"a": ', '[' * 100_000, '"model_type"'])
def test_without_a_config_the_name_decides(tmp_path: Path, shapes: Shapes, about: Any) -> None:
    path = lay(tmp_path, shapes, about)
    with pytest.raises(WeightsMismatch, match='near and far could be swapped'):
        load_estimator(path)
    for name in SMALL:
        assert models.spec_of(path.rename(path.with_name(f'{name}.safetensors'))).name == name
        path.with_name(f'{name}.safetensors').rename(path)


def test_names_that_are_missing_or_odd_are_told(tmp_path: Path, shapes: Shapes) -> None:
    key = 'backbone.encoder.layer.3.attention.attention.key.weight'
    cut = {name: shape for name, shape in shapes.items() if name != key}
    for odd in (cut, cut | {key: [384, 7]}):
        path = lay(tmp_path, odd, name='depth_anything_v2_small.safetensors')
        with pytest.raises(
            WeightsMismatch, match=r'1 of another shape \(pretrained\.blocks\.3\.attn'
        ):
            models.read_arrays(path)
    more = shapes | {'neck.convs.9.weight': [1]}
    path = lay(tmp_path, more, name='depth_anything_v2_small.safetensors')
    with pytest.raises(WeightsMismatch, match=r'1 unexpected \(neck\.convs\.9\.weight\)'):
        models.read_arrays(path)


# --- Its cache.

REVISION, LATER = 'a' * 40, 'b' * 40
SPEC = WeightsFile(
    name='weights.pth',
    url=f'https://huggingface.co/some-org/Some.Model-1/resolve/{REVISION}/deep/weights.pth',
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence='MIT',
    twins=(
        WeightsFile(
            name='model.safetensors',
            url=f'https://huggingface.co/some-org/Other/resolve/{REVISION}/model.safetensors',
            size=len(OTHER),
            sha256=hashlib.sha256(OTHER).hexdigest(),
        ),
    ),
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    own_home(monkeypatch, tmp_path)
    return tmp_path


def hub_file(
    hub: Path,
    content: bytes = CONTENT,
    revision: str = REVISION,
    repository: str = 'models--some-org--Some.Model-1',
    name: str = 'deep/weights.pth',
) -> Path:
    """As the hub's library keeps a file: a link into a folder of blobs."""
    folder = hub / repository
    blob = folder / 'blobs' / hashlib.sha256(content).hexdigest()
    path = folder / 'snapshots' / revision / name
    for each in (blob, path):
        each.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    path.symlink_to(os.path.relpath(blob, path.parent))
    return path


def set_hub_cache(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    monkeypatch.setenv('HF_HUB_CACHE', str(home / 'x'))
    return home / 'x'


def set_old_hub_cache(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    monkeypatch.setenv('HUGGINGFACE_HUB_CACHE', str(home / 'y'))
    return home / 'y'


def set_hub_home(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    monkeypatch.setenv('HF_HOME', '~/z')
    return home / 'z' / 'hub'


def set_xdg(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(home / 'xdg'))
    return home / 'xdg' / 'huggingface' / 'hub'


def set_nothing(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    return home / '.cache' / 'huggingface' / 'hub'


@pytest.mark.parametrize(
    'variables', [set_nothing, set_hub_cache, set_old_hub_cache, set_hub_home, set_xdg]
)
def test_the_cache_of_the_hub_is_searched_by_its_variables(
    home: Path, monkeypatch: pytest.MonkeyPatch, variables: Callable[..., Path]
) -> None:
    hub = variables(monkeypatch, home)
    assert find_weights(SPEC) is None
    path = hub_file(hub)
    assert candidate_paths(SPEC)[-1] == path
    assert find_weights(SPEC) == path
    assert weights.ensure_weights(SPEC, allow_download=False) == path
    label, check = weights.examine_all(SPEC)[-1]
    assert (label.label, check.state) == ('Hugging Face', FileState.GOOD)


def test_other_revisions_are_taken_where_the_bytes_are_the_same(home: Path) -> None:
    hub = set_nothing(pytest.MonkeyPatch(), home)
    path = hub_file(hub, revision=LATER)
    assert find_weights(SPEC) == path
    published = hub_file(hub)
    assert find_weights(SPEC) == published


def test_other_files_of_the_same_weights_are_taken_from_the_hub_alone(home: Path) -> None:
    hub = set_nothing(pytest.MonkeyPatch(), home)
    other = hub_file(hub, OTHER, LATER, 'models--some-org--Other', 'model.safetensors')
    assert find_weights(SPEC) == other
    cache = home / '.cache' / 'midas_depth_ros'
    assert cache / 'model.safetensors' not in candidate_paths(SPEC)
    assert find_weights(SPEC) == other
    path = hub_file(hub)
    assert find_weights(SPEC) == path


@pytest.mark.parametrize('content', [CONTENT[:-1], OTHER, b''])
def test_a_file_of_the_hub_is_never_trusted_without_its_hash(
    home: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = hub_file(set_nothing(pytest.MonkeyPatch(), home), content)
    assert find_weights(SPEC) is None
    assert f'{path} has ' in caplog.text


def test_what_is_no_file_in_the_hub_is_passed_over(home: Path) -> None:
    hub = set_nothing(pytest.MonkeyPatch(), home)
    snapshots = hub / 'models--some-org--Some.Model-1' / 'snapshots'
    for revision in (REVISION, 'c' * 40, 'd' * 40, 'e' * 40):
        (snapshots / revision / 'deep').mkdir(parents=True)
    (snapshots / REVISION / 'deep' / 'weights.pth').symlink_to('weights.pth')  # a loop
    os.mkfifo(snapshots / ('c' * 40) / 'deep' / 'weights.pth')
    (snapshots / ('d' * 40) / 'deep' / 'weights.pth').mkdir()
    (snapshots / ('e' * 40) / 'deep' / 'weights.pth').symlink_to('/nowhere')
    (snapshots / 'file').write_text('')
    assert find_weights(SPEC) is None
    assert find_weights(dataclasses.replace(SPEC)) is None
    path = hub_file(hub, revision='f' * 40)
    assert find_weights(SPEC) == path


def test_a_cache_that_is_a_file_is_passed_over(home: Path) -> None:
    hub = set_nothing(pytest.MonkeyPatch(), home)
    hub.parent.mkdir(parents=True)
    hub.write_text('')
    assert find_weights(SPEC) is None


def test_offline_one_sentence_names_address_hash_and_folders(home: Path) -> None:
    with pytest.raises(WeightsNotFound) as caught:
        weights.ensure_weights(SPEC, allow_download=False)
    text = str(caught.value)
    hub = home / '.cache' / 'huggingface' / 'hub' / 'models--some-org--Some.Model-1'
    for part in (SPEC.url, SPEC.sha256, str(home / '.cache' / 'midas_depth_ros'), str(hub)):
        assert part in text


@pytest.mark.parametrize('name', [each for each in models.names() if models.spec(each).weights.url])
def test_every_registered_model_says_offline_how_to_get_its_weights(home: Path, name: str) -> None:
    spec = models.spec(name).weights
    with pytest.raises(WeightsNotFound) as caught:
        load_estimator(name, allow_download=False, accept_licence=spec.licence)
    text = str(caught.value)
    assert spec.url in text
    if spec.sha256:
        assert spec.sha256 in text
        assert str(home / '.cache' / 'midas_depth_ros') in text
        hub = [path for path in candidate_paths(spec) if 'huggingface' in path.parts]
        assert bool(hub) == spec.url.startswith('https://huggingface.co')
    else:
        assert 'as the model' in text


# --- A download from the hub: an address with a revision, which redirects to a place of storage.


def redirected(server: Any, restriction: str = '') -> WeightsFile:
    return dataclasses.replace(
        SPEC,
        url=server.url.replace(
            'weights.pt', f'some-org/Some.Model-1/resolve/{REVISION}/weights.pth'
        ),
        restriction=restriction,
        twins=(),
    )


REDIRECT = Answer(
    302,
    body=b'Found. Redirecting',
    headers=(('Location', '/storage/blob?X-Amz-Signature=secret'), ('Content-Type', 'text/plain')),
)


def test_a_redirected_download_is_fetched_resumed_and_checked(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level('INFO')
    with serving(CONTENT) as server:
        server.answers(REDIRECT, Answer(cut_after=HALF), REDIRECT, Answer())
        path = weights.ensure_weights(redirected(server), options=IMPATIENT)
        assert path == home / '.cache' / 'midas_depth_ros' / 'weights.pth'
        assert path.read_bytes() == CONTENT
        asked = f'/some-org/Some.Model-1/resolve/{REVISION}/weights.pth'
        stored = '/storage/blob?X-Amz-Signature=secret'
        assert server.paths == [asked, stored, asked, stored]
        assert server.ranges[:2] == ['', '']
        assert server.ranges[2] == server.ranges[3] != ''
    assert 'secret' not in caplog.text
    assert '0.3 of 0.3 MB' in caplog.text


def test_a_redirect_to_other_bytes_is_refused(home: Path) -> None:
    with serving(CONTENT) as server:
        server.answers(REDIRECT, Answer(body=OTHER))
        with pytest.raises(weights.DownloadFailed, match=r'has SHA-256 .* instead of'):
            weights.ensure_weights(redirected(server), options=IMPATIENT)
    assert not (home / '.cache' / 'midas_depth_ros' / 'weights.pth').exists()


def test_the_size_that_the_server_says_is_shown_where_none_is_published(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level('INFO')
    with serving(CONTENT) as server:
        weights.ensure_weights(dataclasses.replace(redirected(server), size=0), options=IMPATIENT)
    assert '0.3 of 0.3 MB' in caplog.text


def test_a_restriction_is_said_when_a_file_is_fetched(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(CONTENT) as server:
        weights.ensure_weights(redirected(server, 'for play only'), options=IMPATIENT)
    assert 'weights.pth: licence MIT, for play only' in caplog.text
