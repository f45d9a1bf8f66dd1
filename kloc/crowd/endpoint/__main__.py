"""``python -m kloc.crowd.endpoint --config FILE.json``: one endpoint as a process of its own.

Prints one line of JSON, ``{"url": "http://..."}``, once it answers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from kloc.crowd.endpoint.server import serve
from kloc.crowd.endpoint.settings import EndpointSettings
from kloc.errors import KlocError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m kloc.crowd.endpoint", description="Serve a crowd endpoint.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file with the endpoint's settings")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="stop at the end of standard input (for a parent process)"
    )
    arguments = parser.parse_args()
    try:
        settings = EndpointSettings.load(arguments.config)
        serve(settings, ready=_announce, until_stdin_closes=arguments.until_stdin_closes)
    except KlocError as error:
        print(str(error), file=sys.stderr)
        return error.exit_code
    return 0


def _announce(url: str) -> None:
    print(json.dumps({"url": url}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
