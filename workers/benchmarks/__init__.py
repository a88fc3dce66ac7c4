"""Measurements that can be repeated: the figures this project claims are printed here.

What is measured is measured on AUDIO, by other code than the models, their training and their
ranking use. A figure that comes from the features a model was trained on, or from the score that
its candidates were chosen by, would praise itself.
"""
