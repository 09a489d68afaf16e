"""Minimal correct extensions. They poll until SHUTDOWN, and relay nothing. FAULT selects the class."""

import time

import extension
from extension import Extension


class AsksForEachEvent(Extension):
    pass


class AsksForShutdown(Extension):
    def register(self, events):
        super().register(["SHUTDOWN"])


class AsksForNoEvent(Extension):
    def ask(self, method, path, body, headers):
        return super().ask(method, path, "{}" if path == "register" else body, headers)


class EndsAfterASecond(Extension):
    def shut_down(self, event):
        time.sleep(1)


def main():
    extension.run_fault_of(globals())
