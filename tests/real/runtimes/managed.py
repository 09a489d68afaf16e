"""Starts the runtime client as Lambda's managed Python runtimes do, with the handler that the environment names."""

import os
import sys

from awslambdaric.__main__ import main

# In the order of these runtimes: the function's directories, then those of layers.
sys.path[:0] = [os.environ["LAMBDA_TASK_ROOT"], "/opt/python"]
main(["awslambdaric", os.environ["_HANDLER"]])
