"""Nothing asks a network: not the library when it is imported, not the tests, but for axe-core."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request

import pytest

IMPORT = """
import importlib, pkgutil, sys

seen = []
sys.addaudithook(lambda event, _: event.startswith("socket.") and seen.append(event))
import camwall

for module in pkgutil.walk_packages(camwall.__path__, "camwall."):
    if not module.name.endswith("__main__") and ".reproducers." not in module.name:
        try:
            importlib.import_module(module.name)
        except (ImportError, camwall.CamwallError) as error:  # a package that is not here
            print(module.name, error)
print(len([name for name in sys.modules if name.startswith("camwall.")]), "rooms and modules", seen)
"""
ASK = """
import socket

try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError as error:
    print(error)
"""


def test_import_opens_no_socket():
    """The library and each of its rooms and modules, adapters too."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, *words = done.stdout.splitlines()[-1].split()
    assert int(count) > 100
    assert words == ["rooms", "and", "modules", "[]"], done.stdout


def test_tests_have_no_network():
    """Neither here nor in processes of their own; only this machine answers."""
    for ask in (
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.create_connection(("example.org", 80), timeout=1),
        lambda: urllib.request.urlopen("http://192.0.2.1/", timeout=1),
    ):
        with pytest.raises(OSError, match=r"no test has a network|refused"):
            ask()
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True)
    assert "no test has a network: 192.0.2.1" in done.stdout, done.stderr
    with socket.create_server(("127.0.0.1", 0)) as here, socket.socket() as other:
        other.connect(here.getsockname())


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_other_programs_have_none_either(tmp_path):
    """They are told of a proxy that is not there."""
    done = subprocess.run(
        ["git", "ls-remote", "http://192.0.2.1/a"],
        cwd=tmp_path,
        env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode
    assert "127.0.0.1" in done.stderr
