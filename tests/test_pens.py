import torch

from handwriting import models, pens


def test_other_pens_leave_letters_in_the_form_that_models_get():
    letters, labels = pens.strangers(1, seed=3)
    assert letters.shape == (312, 64, 64) and letters.dtype == torch.uint8
    assert torch.equal(labels.bincount(), torch.full((156,), 2))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    drawn = pens.redrawn(letters[:40], seed=1)
    assert torch.equal(torch.rand(1), expected)  # whoever trains beside it draws as before
    assert torch.equal(drawn, pens.redrawn(letters[:40], seed=1))
    other = pens.redrawn(letters[:40], seed=2)
    assert (drawn != other).flatten(1).any(1).all()
    share = (drawn > 127).float().mean((1, 2))
    assert share.min() > 0.02 and share.max() < 0.5


def test_the_course_s_model_reads_hands_and_pens_that_it_has_never_met():
    letters, labels = pens.strangers(2, seed=1_000)
    reader = models.reader("compact_cnn")
    read = reader.probabilities(letters.numpy()).argmax(1)
    assert (read == labels.numpy()).mean() > 0.7  # 0.61 before it had met other pens, 0.74 now
