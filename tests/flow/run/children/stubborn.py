"""Ignores the signals named on its command line, says that it is ready, and sleeps."""

import signal
import sys
import time

for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
