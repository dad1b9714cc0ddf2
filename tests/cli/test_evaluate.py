"""How scores are printed."""

from polyprompt.cli.evaluate import show, show_classes, show_sentences


def test_recall_in_percent_both_ways(capsys):
    shares = {"recall@1": 0.0625, "recall@10": 1.0}
    show({"text_to_image": shares, "image_to_text": {"recall@1": 0.5}})
    assert capsys.readouterr().out == (
        "image to text   recall@1  50.0\ntext to image   recall@1   6.2  recall@10 100.0\n"
    )


def test_sentences(capsys):
    show_sentences("stsb:test", {"spearman": 0.8125, "pairs": 12})
    assert capsys.readouterr().out.split() == ["stsb:test", "Spearman", "81.2", "(12", "pairs)"]


def test_classes_with_what_is_known_of_them(capsys):
    scores = {"accuracy": 0.75, "auc": None, "pictures": 8, "classes": 2}
    show_classes("pets", scores, {"accuracy": 0.5})
    words = capsys.readouterr().out.split()
    assert " ".join(words) == "pets accuracy 75.0 zero-shot accuracy 50.0 (8 pictures, 2 classes)"
