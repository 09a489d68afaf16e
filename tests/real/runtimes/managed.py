"""What Lambda's managed Python runtimes start: the runtime client, for the handler that the environment names."""

import os
import sys

from awslambdaric.__main__ import main

sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
main(["awslambdaric", os.environ["_HANDLER"]])
