"""Prints a progress bar as tqdm does: carriage returns, no newline; and bytes that are not UTF-8."""

import sys
import time

for step in range(1, 6):
    bar = f"\rsteps:  {step * 20}%|████▎     | {step}/5 [00:01<00:01,  1.00s/it, avr_loss=0.0{step}]"
    sys.stderr.buffer.write(bar.encode())
    sys.stderr.flush()
    time.sleep(0.02)
sys.stdout.buffer.write("学習開始 ".encode() + b"\xff\xfe\x80 end")
