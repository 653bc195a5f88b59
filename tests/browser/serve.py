"""The front end as a process: `python serve.py ENDPOINT PORT DATA_DIR`, the token in LORAPOOL_TOKEN."""

import os
import sys
from pathlib import Path

from app.main import serve

if __name__ == "__main__":
    endpoint, port, data_dir = sys.argv[1:4]
    root_path = sys.argv[4] if len(sys.argv) > 4 else ""
    serve(endpoint, os.environ["LORAPOOL_TOKEN"], "127.0.0.1", int(port), Path(data_dir), root_path)
