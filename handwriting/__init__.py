"""From a picture to an answer: ink, saved models, the pad, kept drawings, the wild set."""
