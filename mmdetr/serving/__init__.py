"""A detector as a small HTTP service with a page; started by ``tools/serve.py``.

Imports nothing: FastAPI and uvicorn are an extra, and the tool answers ``--help`` without torch.
"""
