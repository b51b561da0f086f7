"""The same training steps in less time: `speed: fast` and `speed: max`.

What is computed is what musubi computes, product for product; rounding differs where several small operations become
one. What is drawn at random, the order of the batches and the learning rate are untouched. `max` multiplies with frozen
weights in 8 bits besides, which is an approximation.
"""
