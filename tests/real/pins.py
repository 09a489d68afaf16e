"""Every version this test installs, in one place."""

import sys

# The wheel contains AWS's Runtime Interface Emulator for both architectures, in samcli/local/rapid/.
AWS_SAM_CLI = "1.170.0"

# Lambda's Python runtime client. 4.0.4 is the last version that accepts Python 3.9.
AWSLAMBDARIC = "4.2.2" if sys.version_info >= (3, 10) else "4.0.4"

THUNDRA_COMPOSITE = "2.7.4"  # the last 2.x: reports composites; package `thundra`
THUNDRA_LAST = "3.0.6"  # the last of package `thundra`; reports arrays
THUNDRA_ARRAYS = "3.0.10"  # reports arrays; package `catchpoint`

# Dependencies of these packages, at versions that Python 3.9 to 3.13 accept.
PYTHON_CONSTRAINTS = (
    "certifi==2026.10.18",
    "charset-normalizer==3.5.2",
    "enum-compat==0.0.3",
    "fastcounter==1.1.0",
    "gitdb==4.0.12",
    "GitPython==3.2.1",
    "idna==3.20",
    "jsonpickle==1.3",
    "opentracing==2.4.0",
    "pep440_rs==0.6.5",
    "Pympler==1.1",
    "python-dateutil==3.0.0",
    "requests==2.32.5",
    "simplejson==4.3.0",
    "six==1.17.0",
    "smmap==5.0.3",
    "snapshot-restore-py==1.0.0",
    "typing_extensions==4.16.0",
    "tzdata==2026.6",
    "urllib3==2.6.3",
    "websocket-client==1.9.0",
    "wrapt==2.5.2",
)

# OpenTelemetry's SDK for Python. 1.41.1 is the last version that accepts Python 3.9. Unstable parts have other numbers.
OPENTELEMETRY_PYTHON, OPENTELEMETRY_PYTHON_UNSTABLE, PROTOBUF, GOOGLEAPIS, GRPCIO = (
    ("1.45.2", "0.66b2", "7.36.2", "1.76.0", "1.85.3")
    if sys.version_info >= (3, 10)
    else ("1.41.1", "0.62b1", "6.33.6", "1.75.0", "1.80.1")
)
OPENTELEMETRY_PYTHON_CONSTRAINTS = (
    *PYTHON_CONSTRAINTS,
    f"googleapis-common-protos=={GOOGLEAPIS}",
    f"grpcio=={GRPCIO}",
    "importlib_metadata==8.7.1",
    f"opentelemetry-api=={OPENTELEMETRY_PYTHON}",
    f"opentelemetry-exporter-http-transport=={OPENTELEMETRY_PYTHON_UNSTABLE}",
    f"opentelemetry-exporter-otlp-common=={OPENTELEMETRY_PYTHON_UNSTABLE}",
    f"opentelemetry-exporter-otlp-proto-common=={OPENTELEMETRY_PYTHON}",
    f"opentelemetry-proto=={OPENTELEMETRY_PYTHON}",
    f"opentelemetry-semantic-conventions=={OPENTELEMETRY_PYTHON_UNSTABLE}",
    f"protobuf=={PROTOBUF}",
    "zipp==3.23.1",
)
# A collector in Rust. Its wheel contains the program for both architectures.
ROTEL = "0.0.1a15"

AWS_LAMBDA_RIC = "4.0.2"  # Lambda's Node.js runtime client
AWS_LAMBDA_RIC_WITH_CALLBACKS = "3.3.0"  # the client for Node.js up to 22, which the agent's own handler needs
OPENTELEMETRY_NODE = "0.301.0"  # @opentelemetry/sdk-node, which depends on the exporters
OPENTELEMETRY_NODE_API = "1.10.0"
THUNDRA_CORE = "2.14.4"
THUNDRA_CORE_OLD = "2.13.65"

# npm uses versions published before this day, so indirect dependencies do not change either.
NPM_BEFORE = "2026-11-23"

# aws-lambda-ric needs Node.js 22, and cmake to build. The test fetches them if the machine has none.
NODE_AT_LEAST = 22
NODE = "22.23.3"
CMAKE = "4.4.4"
