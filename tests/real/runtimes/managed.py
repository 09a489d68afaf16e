"""What Lambda's managed Python runtimes start: the runtime client, for the handler that the environment names."""

import os
import sys

from awslambdaric.__main__ import main

# As they have them: the function's own, then layers'.
sys.path[:0] = [os.environ["LAMBDA_TASK_ROOT"], "/opt/python"]
main(["awslambdaric", os.environ["_HANDLER"]])
