"""docs/notebook.ipynb runs from its first cell to its last."""

from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip('nbclient')
nbformat = pytest.importorskip('nbformat')
pytest.importorskip('ipykernel')

NOTEBOOK = Path(__file__).parents[1] / 'docs' / 'notebook.ipynb'


def test_every_cell_runs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv('PYTHONPATH', str(NOTEBOOK.parents[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get('outputs') for cell in notebook.cells)
    resources = dict(metadata=dict(path=str(tmp_path)))
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    shown = [cell.outputs for cell in notebook.cells if cell.cell_type == 'code']
    assert 'image/png' in shown[1][-1]['data']
    assert (tmp_path / 'work_dirs' / 'notebook' / 'report.html').is_file()
