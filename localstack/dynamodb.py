"""A server that speaks DynamoDB's protocol: moto's, which does one request after another. It keeps all in memory.

Conditions of writes hold, since no two requests are under way at once. Permissions are not checked.
"""

from __future__ import annotations

import argparse
import logging

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", parser.parse_args().port, app, threaded=False)


if __name__ == "__main__":
    main()
