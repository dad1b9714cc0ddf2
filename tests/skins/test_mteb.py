"""mteb's own code on a run: its tasks with built-in data, and tasks of local data against figures of our own."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from toy_run import captioned

import polyprompt as pp
from polyprompt.media.pictures import open_picture

LEFT = ["a cat", "a dog", "a red car", "snow falls", "the sea"]
RIGHT = ["a dog", "a dog", "the sea", "rain", "a blue sea"]
GOLD = [0.4, 1.0, 0.1, 0.5, 0.8]
MOCKS = (
    "MockSTSTask", "MockAny2AnyRetrievalT2ITask", "MockAny2AnyRetrievalI2TTask", "MockZeroShotClassificationTask",
    "MockImageClassificationTask", "MockImageTextPairClassificationTask",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(aligned):
    return pp.to_mteb(aligned / "run")


def test_rows_are_those_of_the_run(model, aligned):
    run = pp.load(aligned / "run")
    pictures = [open_picture(file) for file, _ in captioned(aligned)[:2]]
    texts, images = run.encode_text(LEFT[:2]), run.encode_image(pictures)
    for batch, rows in (
        ({"text": LEFT[:2]}, texts),
        ({"image": pictures}, images),
        ({"text": LEFT[:2], "image": pictures}, texts + images),
    ):
        np.testing.assert_allclose(model.encode([batch]), rows.numpy(), atol=1e-6)
    assert model.mteb_model_meta.name == "polyprompt/run"


def task_metadata(**facts):
    from mteb import TaskMetadata

    nothing = dict.fromkeys(
        ("date", "domains", "task_subtypes", "license", "annotations_creators", "dialect", "sample_creation")
    )
    here = {"dataset": {"path": "local/toy", "revision": "1"}, "eval_splits": ["test"], "eval_langs": ["eng-Latn"]}
    return TaskMetadata(description="Toy.", reference=None, bibtex_citation=None, **nothing | here | facts)


def evaluated(model, task):
    import mteb

    result = mteb.evaluate(
        model, task, cache=None, show_progress_bar=False, co2_tracker=False, encode_kwargs={"batch_size": 4}
    )
    return result.task_results[0].scores["test"][0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Precision is ill-defined")  # scikit-learn's, of a class that is never guessed
@pytest.mark.parametrize("name", MOCKS)
def test_its_own_small_tasks(name, model):
    from mteb.mocks import mock_tasks

    assert np.isfinite(evaluated(model, getattr(mock_tasks, name)())["main_score"])


@pytest.mark.slow
def test_similarity_of_sentences(model, aligned):
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskSTS

    class Toy(AbsTaskSTS):
        metadata = task_metadata(
            name="ToySTS", type="STS", category="t2t", modalities=["text"], main_score="cosine_spearman"
        )
        min_score, max_score = 0, 1

        def load_data(self, num_proc=None, **_):
            columns = {"sentence1": LEFT, "sentence2": RIGHT, "score": GOLD}
            self.dataset, self.data_loaded = DatasetDict(test=Dataset.from_dict(columns)), True

    run = pp.load(aligned / "run")
    cosines = (run.encode_text(LEFT) * run.encode_text(RIGHT)).sum(dim=1)
    assert evaluated(model, Toy())["main_score"] == pytest.approx(spearmanr(cosines, GOLD).statistic)


@pytest.mark.slow
def test_retrieval_of_pictures(model, aligned):
    """Recall at 1 is ours, from the same rows."""
    from datasets import Dataset, Image
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

    files = [file for file, _ in captioned(aligned)[:8]]
    texts = [f"{caption} {number}" for number, (_, caption) in enumerate(captioned(aligned)[:8])]

    class Toy(AbsTaskRetrieval):
        metadata = task_metadata(
            name="ToyRetrieval", type="Any2AnyRetrieval", category="t2i", modalities=["text", "image"],
            main_score="recall_at_1",
        )  # fmt: skip

        def load_data(self, num_proc=None, **_):
            ids = [f"d{i}" for i in range(8)]
            corpus = Dataset.from_dict({"id": ids, "image": [str(file) for file in files]})
            split = RetrievalSplitData(
                corpus=corpus.cast_column("image", Image()),
                queries=Dataset.from_dict({"id": [f"q{i}" for i in range(8)], "text": texts}),
                relevant_docs={f"q{i}": {f"d{i}": 1} for i in range(8)},
                top_ranked=None,
            )
            self.dataset, self.data_loaded = {"default": {"test": split}}, True

    run = pp.load(aligned / "run")
    best = run.similarity(texts, files).argmax(dim=1)
    assert evaluated(model, Toy())["recall_at_1"] == pytest.approx((best.numpy() == np.arange(8)).mean(), abs=1e-4)
