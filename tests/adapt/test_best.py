"""The epoch that scored best stays, and comes out of a checkpoint as it went in."""

import torch
from torch import nn

from polyprompt.adapt.best import Best


def test_the_first_of_the_best_comes_back():
    module = nn.Linear(2, 1)
    best = Best(module)
    for epoch, score in enumerate((0.0, 0.5, 0.25, 0.5, 0.4), 1):
        for parameter in module.parameters():
            parameter.data.fill_(epoch)
        best.offer(module, epoch, score)
    again = Best(module)
    again.load_state_dict(best.state_dict())
    for one in (best, again):
        module = nn.Linear(2, 1)
        one.restore(module)
        assert {value for parameter in module.parameters() for value in parameter.flatten().tolist()} == {2.0}
        assert (int(one.epoch), float(one.score)) == (2, 0.5)


def test_before_the_first_offer_it_holds_what_there_was():
    module = nn.Linear(2, 1)
    best, before = Best(module), module.weight.detach().clone()
    module.weight.data.zero_()
    best.restore(module)
    assert torch.equal(module.weight, before)
