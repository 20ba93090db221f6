"""What the notebooks of the handwriting course import: data, training, reporting.

The map of the room; what stands below may import what stands above, and nothing else of ours:

- `profile` says how much a run does and where; `sources` gets archives, verified, and knows the
  folders; `shapes` brings pixels to the form that a model was trained on.
- `augmentation` changes training images at random.
- `data` has MNIST, splits and batches; `tamil` the same for HPL Tamil (`alphabet`, `archive`,
  `font`, and `synthetic` writers who stand in for it).
- `networks` has the notebooks' networks by name; `small_maps` makes convolutions of few pixels
  faster.
- `training` is the loop of notebook 01, made reusable; `vision` alone imports fastai.
- `records` keeps what was measured; `recipes` has what notebooks 1 to 7 chose, once.
- `reporting` draws figures and tables, each with words for those who cannot see it.

`handwriting` goes from a picture to an answer; `course` builds, runs and checks all of it.
"""

__version__ = "0.1.0"
