"""The command line tools, on the toy model of test_engine."""

import os
import pickle
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mmdetr.checkpoint import load_file
from tests.helpers.toy import toy_config

FAKE_SRUN = 'echo srun "$@"; while [[ $1 != bash ]]; do shift; done; exec "$@"'
# mmengine keeps its singletons by the second in which a run began.
pytestmark = pytest.mark.filterwarnings('ignore:.*instance named of')

ROOT = Path(__file__).parents[2]


def write_config(folder: Path, **changes: Any) -> Path:
    """A config file; the process that reads it needs the repository on its path."""
    content = toy_config(folder, **changes).to_dict()
    del content['work_dir'], content['experiment_name']
    for name in ('dataloader', 'cfg', 'evaluator'):
        content[f'test_{name}'] = content[f'val_{name}']
    content['custom_imports'] = dict(imports=['tests.helpers.toy'])
    path = folder / 'toy_config.py'
    path.write_text('\n'.join(f'{key} = {value!r}' for key, value in content.items()))
    return path


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: Any) -> Any:
    """Runs a tool in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')

    def run(name: str, *arguments: Any) -> None:
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')

    return run


def test_train_resume_and_test(tmp_path: Path, tool: Any, capfd: Any) -> None:
    config = write_config(tmp_path)
    tool('train.py', config, '--cfg-options', 'train_cfg.max_epochs=2')
    work_dir = tmp_path / 'work_dirs' / 'toy_config'
    assert (work_dir / 'toy_config.py').is_file()
    assert (work_dir / 'last_checkpoint').read_text().endswith('epoch_2.pth')

    tool('train.py', config, '--resume')
    tool('train.py', config, '--work-dir', 'whole')
    tool('train.py', config, '--work-dir', 'other', '--resume', work_dir / 'epoch_3.pth')
    first, *others = (
        load_file(folder / 'epoch_4.pth')['state_dict']
        for folder in (work_dir, tmp_path / 'whole', tmp_path / 'other')
    )
    for other in others:
        assert all(torch.equal(first[key], other[key]) for key in first)

    capfd.readouterr()
    tool('test.py', config, work_dir / 'epoch_4.pth', '--out', 'out.pkl', '--work-dir', 'test')
    assert 'toy/score: -0.' in capfd.readouterr().out
    predictions = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert len(predictions) == 20


def test_ctrl_c_ends_a_training_in_one_line(
    tmp_path: Path, tool: Any, monkeypatch: Any, capsys: Any
) -> None:
    def interrupt(self: Any, *args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    config = write_config(tmp_path)
    monkeypatch.setattr('tests.helpers.toy.ToyModel.forward', interrupt)
    with pytest.raises(SystemExit) as caught:
        tool('train.py', config)
    assert caught.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith('interrupted; --resume')


def test_quiet_has_the_result_alone(tmp_path: Path, tool: Any, capsys: Any) -> None:
    config = write_config(tmp_path)
    tool('train.py', config, '--quiet')
    tool('test.py', config, 'work_dirs/toy_config/epoch_4.pth', '--quiet', '--work-dir', 'test')
    trained, tested = capsys.readouterr().out.splitlines()
    assert trained.startswith('trained in 0:0')
    assert 'toy: score -0.' in tested


def test_show_dir_goes_to_the_drawing_hook(tmp_path: Path, tool: Any) -> None:
    config = write_config(tmp_path)
    torch.save({}, tmp_path / 'a.pth')
    with pytest.raises(SystemExit, match='DetVisualizer'):
        tool('test.py', config, 'a.pth', '--show-dir', 'pictures')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('train.py', 'none.py'), 'config not found: none.py'),
        (('train.py', 'toy_config.py', '--resume', 'none.pth'), 'checkpoint not found: none.pth'),
        (('train.py', 'toy_config.py', '--cfg-options', 'trian_cfg.x=1'), 'mean train_cfg'),
        (('train.py', 'toy_config.py', '--auto-scale-lr'), 'auto_scale_lr = dict(base_batch_size'),
        (('train.py', 'toy_config.py', '--amp'), '--amp needs a CUDA GPU'),
        (('test.py', 'toy_config.py', 'none.pth'), 'checkpoint not found: none.pth'),
        (('test.py', 'toy_config.py', 'toy_config.py', '--out', 'a.json'), 'must end in .pkl'),
        (('test.py', 'toy_config.py', 'toy_config.py', '--cfg-options', 'a=1'), "no 'a' there"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, tool: Any, capsys: Any, monkeypatch: Any, arguments: tuple, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    write_config(tmp_path)
    with pytest.raises(SystemExit) as caught:
        tool(*arguments)
    assert message in capsys.readouterr().err + str(caught.value)


def test_auto_scale_lr(tmp_path: Path, tool: Any) -> None:
    config = write_config(tmp_path, auto_scale_lr=dict(base_batch_size=8, enable=False))
    for flags, lr in (((), 0.01), (('--auto-scale-lr',), 0.005)):
        tool('train.py', config, *flags, '--work-dir', f'lr{lr}')
        content = load_file(tmp_path / f'lr{lr}' / 'epoch_4.pth')
        assert content['param_schedulers'][0]['base_values'] == [lr]


@pytest.mark.parametrize(('bf16', 'dtype'), [(True, 'bfloat16'), (False, 'float16')])
def test_amp(tmp_path: Path, monkeypatch: Any, bf16: bool, dtype: str) -> None:
    enable_amp = runpy.run_path(str(ROOT / 'tools' / 'train.py'))['enable_amp']
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: bf16)
    config = toy_config(tmp_path)
    enable_amp(config)
    assert config.optim_wrapper.type == 'AmpOptimWrapper'
    assert config.optim_wrapper.dtype == dtype
    assert config.optim_wrapper.loss_scale == (1.0 if bf16 else 'dynamic')
    assert config.optim_wrapper.optimizer.type == 'AdamW'


@pytest.mark.parametrize('name', ['train.py', 'test.py'])
def test_help_has_examples(tool: Any, capsys: Any, name: str) -> None:
    with pytest.raises(SystemExit) as caught:
        tool(name, '--help')
    assert caught.value.code == 0
    assert 'examples:' in capsys.readouterr().out


def shell(script: str, *arguments: Any, **variables: Any) -> subprocess.CompletedProcess:
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    return subprocess.run(
        [ROOT / 'tools' / script, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize(
    ('script', 'arguments'),
    [
        ('dist_train.sh', ['config.py']),
        ('dist_train.sh', ['config.py', 'two']),
        ('dist_test.sh', ['config.py', 'a.pth']),
        ('slurm_train.sh', ['partition', 'job']),
    ],
)
def test_usage_of_scripts(script: str, arguments: list[str]) -> None:
    done = shell(script, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f'usage: tools/{script}')


def test_commands_of_scripts(tmp_path: Path) -> None:
    """What the scripts would run, seen with stand-ins for python and srun."""
    for name, line in (('srun', FAKE_SRUN), ('scontrol', 'echo node7')):
        (tmp_path / name).write_text(f'#!/bin/bash\n{line}\n')
        (tmp_path / name).chmod(0o755)
    train, test = f'{ROOT}/tools/train.py', f'{ROOT}/tools/test.py'

    done = shell('dist_train.sh', 'c.py', 8, '--amp', PYTHON='echo', NNODES=2, NODE_RANK=1, PORT=5)
    assert (
        done.stdout.split()
        == (
            '-m torch.distributed.run --nnodes 2 --node-rank 1 --master-addr 127.0.0.1 '
            f'--master-port 5 --nproc-per-node 8 {train} c.py --amp --launcher pytorch'
        ).split()
    )

    done = shell('dist_test.sh', 'c.py', 'a.pth', 2, '--out', 'o.pkl', PYTHON='echo')
    assert (
        done.stdout.split()
        == (
            '-m torch.distributed.run --standalone --nproc-per-node 2 '
            f'{test} c.py a.pth --out o.pkl --launcher pytorch'
        ).split()
    )

    path = f'{tmp_path}:{os.environ["PATH"]}'
    done = shell('slurm_train.sh', 'gpu', 'job', 'c.py', '--resume', PATH=path, PYTHON='echo')
    srun, command = done.stdout.split('\n', 1)
    assert '--partition gpu --job-name job --ntasks 8 --ntasks-per-node 8 --gres gpu:8' in srun
    assert command.splitlines()[-1] == f'-u {train} c.py --launcher slurm --resume'
