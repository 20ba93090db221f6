"""Layers in a faster order, and convolutions that are fast on small maps."""

import copy

import pytest
import torch
from torch import nn

from nbhelpers import networks, small_maps, training


@pytest.mark.parametrize(
    "kernel, stride", [(3, 1), (3, 2), (1, 1), (1, 2), (7, 2), ((3, 1), (2, 1))]
)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (2, 3), (9, 9)])
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolutions_of_small_maps_give_what_torch_s_give(
    kernel, stride, size, depthwise, monkeypatch
):
    torch.manual_seed(0)
    padding = tuple(k // 2 for k in kernel) if isinstance(kernel, tuple) else kernel // 2
    how = {"groups": 5, "bias": False} if depthwise else {}
    theirs = nn.Conv2d(5, 5 if depthwise else 6, kernel, stride, padding, **how).double()
    (ours,) = small_maps.fast_on_small_maps(nn.Sequential(copy.deepcopy(theirs)))
    with torch.inference_mode():  # what is kept from here must not stop a training
        ours(torch.rand(16, 5, *size, dtype=torch.double))
    assert dict(ours.named_parameters()).keys() == dict(theirs.named_parameters()).keys()
    images = torch.rand(16, 5, *size, dtype=torch.double)
    results = []
    for layer in (theirs, ours):
        inputs = images.clone().requires_grad_()
        outputs = layer(inputs)
        outputs.square().sum().backward()
        results.append([outputs, inputs.grad, *(p.grad for p in layer.parameters())])
    small = max(results[0][0].shape[2:]) <= 4
    for expected, measured in zip(*results, strict=True):
        torch.testing.assert_close(measured, expected)
    calls = []
    monkeypatch.setattr(nn.Conv2d, "forward", lambda layer, images: calls.append(layer))
    ours(images)
    assert bool(calls) != small, "the shapes that are slow in torch, and no others, are ours"
    ours(images[:15])
    assert len(calls) == 2 - small, "few images are torch's"


def test_other_convolutions_stay_torch_s():
    others = ({"dilation": 2}, {"padding": "same"}, {"padding_mode": "circular"}, {"groups": 2})
    others += ({"groups": 4},)  # depthwise, but with a bias
    model = nn.Sequential(*(nn.Conv2d(4, 4, 3, **other) for other in others))
    assert {type(layer) for layer in small_maps.fast_on_small_maps(model)} == {nn.Conv2d}


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_lenet_learns_to_the_last_digit_what_the_published_order_of_layers_does(precision):
    batch, learnt = (torch.rand(64, 1, 28, 28) - 0.5, torch.arange(64) % 10), []
    for order in (range(11), (0, 2, 1, 3, 5, 4, *range(6, 11))):  # ours, and each ReLU first
        torch.manual_seed(0)
        model = nn.Sequential(*map(networks.lenet().__getitem__, order))
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        how = {"optimizer": optimizer, "epochs": 1, "precision": precision}
        training.fit(model, [batch] * 3, [batch], **how)
        learnt.append(nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(*learnt)
