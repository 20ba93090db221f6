import torch

from nbhelpers.augmentation import RandomAffine


def digits(paper=0.0):
    inputs = torch.full((16, 1, 28, 28), paper)
    inputs[:, :, 8:20, 12:16] = paper + 1
    return inputs


def test_no_change_leaves_images_as_they_are():
    assert torch.allclose(RandomAffine()(digits()), digits(), atol=1e-5)


def test_each_image_is_changed_in_its_own_way():
    torch.manual_seed(0)
    changed = RandomAffine(degrees=20, scale=0.1, shear=0.1, shift=0.1)(digits())
    assert changed.shape == (16, 1, 28, 28)
    assert not torch.allclose(changed[0], changed[1], atol=0.1)


def test_paper_comes_in_from_outside():
    torch.manual_seed(0)
    changed = RandomAffine(shift=0.3)(digits(paper=-1.0))
    assert changed.min() >= -1 - 1e-6
    assert torch.allclose(changed[:, :, 0, 0], torch.tensor(-1.0), atol=1e-5)


def test_a_shift_has_the_size_it_says():
    torch.manual_seed(0)
    inputs = digits()
    columns = torch.arange(28.0)
    centre = (RandomAffine(shift=0.1)(inputs).sum((1, 2)) * columns).sum(1) / inputs[0].sum()
    assert (centre - 13.5).abs().max() <= 2.81
    assert (centre - 13.5).abs().max() > 1


def test_turning_keeps_the_ink():
    torch.manual_seed(0)
    turned = RandomAffine(degrees=45)(digits())
    assert torch.allclose(turned.sum((1, 2, 3)), digits().sum((1, 2, 3)), rtol=0.05)
