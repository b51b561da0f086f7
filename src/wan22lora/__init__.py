"""From a folder of pictures or clips and a short run.yaml to a pair of Wan 2.2 LoRAs."""

__version__ = "0.1.0"
