"""A training program for musubi-tuner v0.3.4 that continues where it stopped, and says what it does.

It runs in musubi's own Python, started by the path of this folder, and imports the standard library, torch and musubi;
`options` alone is read by the command line too. Inside, modules import each other relatively, because there the
package is called wan22lora_trainer (see __main__).
"""
