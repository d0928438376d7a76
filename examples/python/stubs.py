"""Makes the Python modules of Ambit's protos when they are needed: nothing generated is kept."""

import pathlib
import sys
import tempfile
from importlib import resources

from grpc_tools import protoc

PROTOS = pathlib.Path(__file__).resolve().parents[2] / "proto"


# Gone with the process.
FOLDER = tempfile.TemporaryDirectory(prefix="ambit-stubs-")


def generate(protos: pathlib.Path, out: str) -> None:
    """After this, ``ambit.v1`` can be imported. A service of yours does it when its image is built."""
    well_known = resources.files("grpc_tools") / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={protos}",
            f"--proto_path={well_known}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            *[str(path) for path in sorted(protos.glob("ambit/v1/*.proto"))],
        ]
    )
    if status != 0:
        raise RuntimeError(f"protoc ended with {status}")
    sys.path.insert(0, out)


generate(PROTOS, FOLDER.name)
