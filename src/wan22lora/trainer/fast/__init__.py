"""The same training steps in less time: `speed: fast`.

What is computed is what musubi computes, product for product; rounding differs where several small operations become
one. What is drawn at random, the order of the batches and the learning rate are untouched.
"""
