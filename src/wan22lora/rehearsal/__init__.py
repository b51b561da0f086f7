"""Stand-ins for musubi-tuner's programs: same options, same file names, same quirks, and nothing is trained.

`python -m wan22lora.rehearsal` before a command of the plan runs the stand-in for the program that the command starts.
Variables steer it: WAN22LORA_PIN (the revision to imitate), WAN22LORA_REHEARSAL_STEP_SECONDS (the pace), WAN22LORA_STEP
and WAN22LORA_FAULT (what goes wrong; see faults.py, which has two more for full disks).
"""
