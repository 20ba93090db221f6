import torch
from torch.nn import functional

from nbhelpers.augmentation import RandomAffine, RandomWarp


def digits(paper=0.0):
    inputs = torch.full((16, 1, 28, 28), paper)
    inputs[:, :, 8:20, 12:16] = paper + 1
    return inputs


def test_paper_comes_in_from_outside():
    torch.manual_seed(0)
    changed = RandomAffine(shift=0.3)(digits(paper=-1.0))
    assert changed.min() >= -1 - 1e-6
    assert torch.allclose(changed[:, :, 0, 0], torch.tensor(-1.0), atol=1e-5)


def test_a_shift_has_the_size_it_says_and_is_each_image_s_own():
    torch.manual_seed(0)
    inputs = digits()
    assert torch.allclose(RandomAffine()(inputs), inputs, atol=1e-5)
    shifted = RandomAffine(shift=0.1)(inputs)
    centre = (shifted.sum((1, 2)) * torch.arange(28.0)).sum(1) / inputs[0].sum()
    assert 1 < (centre - 13.5).abs().max() <= 2.81
    assert len(centre.round(decimals=2).unique()) > 12


def test_without_bend_and_stretch_a_warp_is_affine():
    settings = {"degrees": 10, "scale": 0.1, "shear": 0.1, "shift": 0.05}
    torch.manual_seed(0)
    warped = RandomWarp(**settings)(digits())
    torch.manual_seed(0)
    assert torch.equal(warped, RandomAffine(**settings)(digits()))


def test_a_stretched_image_is_wider_or_narrower_and_keeps_its_area():
    torch.manual_seed(0)
    stretched = RandomWarp(stretch=0.5)(digits())
    heights = (stretched.amax(3) > 0.5).sum(-1)
    assert heights.min() < 12 < heights.max()
    assert torch.allclose(stretched.sum((1, 2, 3)), digits().sum((1, 2, 3)), rtol=0.05)


def test_a_bend_follows_its_points_as_torch_interpolates_them():
    inputs, still = torch.zeros(2, 1, 40, 28), RandomWarp().grid(torch.zeros(2, 1, 40, 28))
    torch.manual_seed(1)
    bent = RandomWarp(bend=0.03, cells=6).grid(inputs) - still
    torch.manual_seed(1)
    RandomWarp().grid(inputs)  # draws as many numbers before the bend's
    points = torch.randn(2, 2, 6, 6) * 2 * 0.03
    smooth = functional.interpolate(points, (40, 28), mode="bicubic", align_corners=True)
    torch.testing.assert_close(bent, smooth.permute(0, 2, 3, 1), atol=1e-5, rtol=0)
