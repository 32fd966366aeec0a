from .io import CheckpointError, load_file, save_file

__all__ = ['CheckpointError', 'load_file', 'save_file']
