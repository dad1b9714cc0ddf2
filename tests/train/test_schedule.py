import pytest
import torch

from polyprompt.train.schedule import cosine_rate, published_rate


@pytest.mark.parametrize(
    ("epoch", "epochs", "rate", "printed"),
    [
        (1, 5, 0.0035, 1e-5),
        (4, 5, 0.0035, 2.2908e-03),  # as muzairkhattak/multimodal-prompt-learning logs it
        (5, 5, 0.0035, 1.2092e-03),
        (3, 50, 0.002, 1.998027e-03),  # as KaiyangZhou/CoOp logs it
    ],
)
def test_published_rates_are_those_the_authors_logs_print(epoch, epochs, rate, printed):
    digits = f"{printed:e}".split("e")[0].rstrip("0")
    assert published_rate(epoch, epochs, rate) == pytest.approx(printed, rel=0.5 * 10.0 ** -(len(digits) - 2))


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_cosine_without_warm_up_equals_torchs(steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    other = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for step in range(steps):
        assert cosine_rate(step, steps, 0.3) == pytest.approx(other.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        other.step()


def test_warm_up_rises_in_equal_steps_to_the_peak_where_the_cosine_starts():
    assert [cosine_rate(step, 20, 0.8, warmup=4) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    assert cosine_rate(12, 20, 0.8, warmup=4) == pytest.approx(0.4)  # halfway down
    assert 0 < cosine_rate(19, 20, 0.8, warmup=4) < 0.01
