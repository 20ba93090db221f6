"""Helpers that the notebooks of the handwriting course import.

One module, one job. For the notebooks: `profile` (how much a run does), `sources` (getting
archives), `data` (MNIST, splits, batches), `tamil` (HPL Tamil), `synthetic` (writers who stand in
for it), `letters` (showing Tamil on any machine), `augmentation` (random changes of training
images), `training` (the loop and its checkpoints), `vision` (the bridge to fastai),
`reporting` (figures, numbers, the results record), `ink` (a picture of one character to what a
model was trained on), `wild` (pictures as people bring them), `models` (saved models that travel),
`networks` (their architectures), `pad` (drawing in a notebook), `mine` (drawings that are kept),
`recipes` (what the notebooks chose).

For the command line: `execute` (running notebooks), `compare` (their results beside the committed
ones), `verify` (the same again?), `readme` (results in the README), `promises` (and what tests
prove), `doctor`.
"""

__version__ = "0.1.0"
