"""Ends at once on SIGINT while the program that it launched takes half a second to end well."""

import subprocess
import sys

code = """
import time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    print("saved", flush=True)
"""
trainer = subprocess.Popen([sys.executable, "-S", "-c", code])
try:
    trainer.wait()
except KeyboardInterrupt:
    sys.exit(130)
