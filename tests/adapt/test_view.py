"""Vectors of sentences are kept by all that determines them."""

import torch
from toy_encoders import toy_encoder

from polyprompt.adapt.view import FrozenText


def test_many_sentences_are_read_once_and_a_damaged_file_again(encoder, cache):
    """Vectors of many sentences are kept on disk, by all that determines them; of few, in memory."""
    templates = tuple(f"{number} {{}}." for number in range(50))
    read = []
    hook = encoder.text.ln_final.register_forward_hook(lambda *_: read.append(1))

    def classes(encoder, names=("red", "blue"), templates=templates, keep=True):
        return FrozenText(encoder, names, keep=keep).classes(templates)

    first = classes(encoder)
    rows = [encoder.text.words(template.format("red")) for template in templates]
    torch.testing.assert_close(first[0], encoder.encode_text([t.format("red") for t in templates], normalize=False))
    assert len(rows) == 50
    del read[:]
    assert torch.equal(classes(encoder), first)
    assert not read
    (file,) = cache.glob("sentences/*/*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    assert torch.equal(classes(encoder), first)
    assert read
    hook.remove()

    def kept():
        return len(list(cache.glob("sentences/*/*.safetensors")))

    before = kept()
    for other in ({"names": ("red", "green")}, {"templates": (*templates[1:], "a {}.")}):
        assert not torch.equal(classes(encoder, **other), first)
    assert not torch.equal(classes(toy_encoder("clip", seed=1)), first)
    assert kept() == before + 3
    classes(encoder, templates=("few {}.",))
    classes(encoder, names=("a", "b"), keep=False)
    assert kept() == before + 3
