"""`polyprompt run` and `report` of a grid, as a shell runs them: bad input in one line before anything is opened, kept
results, two runs at once."""

import json
import shutil
import time
from pathlib import Path
from threading import Thread

import pytest
from miniatures import Root, picture
from outside import heard
from run_files import as_of_version

from polyprompt import executors
from polyprompt.bench import precision as kept_precision
from polyprompt.bench.precision import KEPT
from polyprompt.bench.worker import work
from polyprompt.executors.claims import take
from polyprompt.nn.precision import choice
from polyprompt.runs.cells import CELLS, FAILURES, FIGURES, results_in

COLOURS = {"red": (200, 30, 30), "green": (30, 190, 40), "blue": (30, 40, 210)}
NOWHERE = "no/encoder"
"""It cannot be opened: whatever is told of another thing was told before."""

pytestmark = pytest.mark.usefixtures("here")  # but programs of their own have workers of their own


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Two pictures of each of three colours, in train, in test."""
    root = Root(tmp_path_factory.mktemp("squares"))
    for split in ("train", "test"):
        for name, colour in COLOURS.items():
            for shade in range(2):
                shaded = tuple(max(0, one - 9 * shade) for one in colour)
                root.file(f"{split}/{name}/{shade}.png", picture(shaded, "PNG", size=(24, 24)))
    return root.path


@pytest.fixture
def grid(polyprompt, squares, tmp_path):
    """`run` with what is said over few-shot on `squares`: code, what it printed, the line of its error."""

    def run(protocol="few-shot", *words, encoder=NOWHERE, data=squares, methods="coop", out=tmp_path / "grid"):
        own = ["--methods", methods] if methods else []
        code, printed, message = polyprompt(
            "run", protocol, *own, "--data", data, "--encoders", encoder, "--out", out, *words
        )
        lines = [line for line in message.splitlines() if line.startswith("polyprompt: ")]
        assert "Traceback" not in message
        return code, printed, lines[-1] if lines else ""

    return run


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        (["few-short"], {}, "no protocol is called 'few-short'. Did you mean 'few-shot'"),
        ([], {"methods": "mapel"}, "no method is called 'mapel'. Did you mean 'maple'"),
        ([], {"data": "eurosatt@/data"}, "Did you mean 'eurosat'?"),
        ([], {"data": "eurosat@/nowhere"}, "eurosat: not there; looked for /nowhere/eurosat"),
        ([], {"data": "pacs:foto@/nowhere"}, "'photo'"),
        (["zero-shot"], {}, "give no methods"),
        (["few-shot", "--set", "epoch=3"], {}, "no setting is called 'epoch'. Did you mean epochs"),
        (["few-shot", "--set", "epochs=0"], {}, "epochs is 0"),
        (["/nowhere/R.YAML"], {}, "/nowhere/R.YAML: no such file"),
        (["few-shot", "--set", "train_split=trian"], {}, "no split of"),
        (["few-shot", "--set", "test_split=tset"], {}, "no split of"),
        (["few-shot", "--seeds", "1,99999999999"], {}, "it should be at most 4,294,967,295"),
        (["few-shot", "--seeds", "one"], {}, "--seeds is one; give whole numbers"),
        (["few-shot", "--executor", "rai"], {}, "--executor is 'rai'; choose from local, ray, slurm"),
        (["retrieval"], {"methods": ""}, "no captions found in it"),
        (["sts"], {"methods": "", "data": "stsc"}, "Did you mean 'stsb'"),
        (["single-source"], {}, "give a set with domains"),
    ],
)
def test_what_is_wrong_is_told_before_an_encoder_is_opened(grid, tmp_path, words, given, message):
    code, printed, line = grid(*words, **given)
    assert (code, printed) == (2, "")
    assert message in line
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize(
    ("again", "message"),
    [([], "name the set to train on and one or more others to score"), (["/."], "is the set to train on, which is")],
)
def test_cross_dataset_takes_other_sets(grid, squares, again, message):
    data = ",".join([str(squares), *(f"{squares}{end}" for end in again)])
    assert message in grid("cross-dataset", data=data)[2]


def test_classes_with_fewer_pictures_than_shots_are_told(polyprompt, squares, clip, tmp_path):
    words = ["run", "few-shot", "--data", squares, "--encoders", clip, "--out", tmp_path / "out", "--dry-run"]
    lacks = f"{squares}: 3 classes have fewer than 4 training pictures, all of which are taken: blue, green, red.\n"
    assert lacks in polyprompt(*words, "--shots", "1,4,2")[2]
    assert "fewer" not in polyprompt(*words, "--shots", "2")[2]


def test_a_folder_with_a_comma_in_its_name_is_one_set(grid, squares, tmp_path):
    (tmp_path / "a,b").symlink_to(squares)
    assert NOWHERE in grid("zero-shot", methods="", data=tmp_path / "a,b")[2]  # the set was read
    Root(tmp_path / "c,d").pictures("eurosat/2750/Forest/1.jpg", "eurosat/2750/River/1.jpg").json(
        "eurosat/split_zhou_EuroSAT.json", {"test": [["Forest/1.jpg", 0, "Forest"], ["River/1.jpg", 1, "River"]]}
    )
    assert NOWHERE in grid("zero-shot", methods="", data=f"eurosat@{tmp_path / 'c,d'}")[2]
    assert NOWHERE in grid("zero-shot", methods="", data=f"{squares},eurosat@{tmp_path / 'c,d'}")[2]
    assert NOWHERE in grid("zero-shot", methods="", data=f"eurosat@{tmp_path / 'c,d'},eurosat@{tmp_path / 'c,d'}")[2]
    assert NOWHERE in grid("zero-shot", methods="", data=f"{squares},{squares}")[2]
    assert NOWHERE in grid("zero-shot", methods="", data=f"{squares},{tmp_path / 'a,b'},{squares}")[2]
    assert NOWHERE in grid(methods="coop, maple ", data=f"{squares} , {tmp_path / 'a,b'}, {squares}")[2]
    assert "polyprompt: b: no such" in grid("zero-shot", methods="", data=f"{squares},b")[2]
    (tmp_path / "e,f").write_text("")
    encoders = tmp_path / "e,f"
    assert f"{encoders}: " in grid("zero-shot", methods="", encoder=encoders)[2]
    assert "none,b: no such" not in grid("zero-shot", methods="", data=tmp_path / "none,b")[2]


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_results_do_not_lie_among_the_pictures(grid, squares, words):
    for out in (squares / "grid", squares / "train" / "grid"):
        code, printed, line = grid("few-shot", *words, out=out)
        assert (code, printed) == (2, "")
        assert f"{out}: lies among the pictures of {squares}" in line
        assert not out.exists()


def test_a_wrong_encoder_is_told_last(grid):
    code, _, line = grid()
    assert code == 2
    assert NOWHERE in line


def test_workers_load_what_they_need_while_a_grid_is_planned(grid, monkeypatch):
    prepared = []
    monkeypatch.setattr(executors, "prepare", lambda *given: prepared.append(given))
    grid("few-shot", "--dry-run", "--workers", "2")
    assert not prepared
    assert NOWHERE in grid("few-shot", "--workers", "2")[2]
    assert prepared == [("local", 2, work.__module__)]


@pytest.mark.parametrize(("executor", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_executor_that_is_not_installed(grid, not_installed, executor, module):
    not_installed(module)
    code, _, line = grid("few-shot", "--executor", executor)
    assert code == 2
    assert f"needs the package {module}; pip install '.[{executor}]'" in line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("encoder: no/encoder", "no setting is called 'encoder'. Did you mean encoders"),
        ("settings: {epoch: 3}", "no setting is called 'settings.epoch'. Did you mean settings.epochs"),
        ("methods: mapel", "no method is called 'mapel'. Did you mean 'maple'"),
        ("methods: {name: coop, contxt: 3}", "coop: no setting is called 'contxt'. Did you mean context"),
        ("methods: [{name: coop, training: {epoch: 3}}]", "training of coop: no setting is called 'epoch'"),
        ("data: ''", "data is ''; it is empty"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_told_with_its_file(polyprompt, squares, tmp_path, line, message):
    lines = {"protocol": "protocol: few-shot", "data": f"data: {squares}", "encoders": f"encoders: {NOWHERE}"}
    recipe = tmp_path / "grid.yaml"
    recipe.write_text("\n".join((lines | {line.partition(":")[0]: line}).values()))
    code, _, said = polyprompt("run", recipe, "--out", tmp_path / "grid")
    assert code == 2
    assert f"polyprompt: {recipe}: {message}" in said.replace("methods: training", "training")


# Published sets


@pytest.fixture
def pacs(tmp_path):
    """Two classes of two domains, of 9,990 pictures."""
    root = Root(tmp_path / "data")
    for domain in ("photo", "sketch"):
        for name, colour in (("dog", (200, 30, 30)), ("horse", (30, 190, 40))):
            root.file(f"pacs/{domain}/{name}/1.png", picture(colour, "PNG", size=(24, 24)))
    return root.path


def test_wrong_counts_are_told_and_run(polyprompt, pacs, clip, tmp_path):
    words = ["--data", f"pacs:photo@{pacs}", "--encoders", clip, "--out", tmp_path / "grid", "--dry-run"]
    code, out, message = polyprompt("run", "zero-shot", *words)
    assert code == 0
    assert "1 cell, 1 to do" in out
    assert "pacs:photo: 2 pictures, the published set has 1,670; figures are not comparable with its." in message
    assert not (tmp_path / "grid").exists()


def test_a_domain_that_is_missing(grid, pacs):
    code, _, line = grid("single-source", data=f"pacs@{pacs}")
    assert code == 2
    assert f"its pictures are not there; looked for {pacs}/pacs/art_painting" in line


def test_a_partial_download(grid, tmp_path):
    """The split file is there, one of its pictures is not."""
    rows = {
        split: [[f"{name}/{split}.jpg", i, name] for i, name in enumerate(("a", "b"))] for split in ("train", "test")
    }
    root = Root(tmp_path / "data").json("eurosat/split_zhou_EuroSAT.json", rows | {"val": rows["train"]})
    root.pictures("eurosat/2750/a/train.jpg", "eurosat/2750/b/train.jpg", "eurosat/2750/a/test.jpg")
    code, _, line = grid(data=f"eurosat@{root.path}")
    assert code == 2
    assert "b/test.jpg" in line


def test_clips_that_are_missing_may_be_left_out_of_retrieval(grid, photos, clip):
    """No published set of videos is whole any more."""
    (photos / "12.png").unlink()
    code, _, line = grid("retrieval", methods="", data=photos, encoder=clip)
    assert (code, "no picture '12.png'" in line, "skipped (max_bad, now 0)" in line) == (2, True, True)
    code, printed, _ = grid("retrieval", "--set", "max_bad=1", methods="", data=photos, encoder=clip)
    assert (code, "1 of 1 cells have results" in printed) == (0, True)
    assert grid("retrieval", "--set", "max_bad=9", methods="", data=photos, encoder=clip)[1] == "1 cell, 0 to do\n"


# Results


@pytest.fixture
def done(polyprompt, squares, clip, tmp_path):
    """A grid of one cell that is done: its folder, and its words."""
    words = ["run", "zero-shot", "--data", squares, "--encoders", clip, "--out", tmp_path / "done"]
    code, out, _ = polyprompt(*words)
    assert (code, "1 of 1 cells have results" in out) == (0, True)
    return tmp_path / "done", words


def test_a_grid_of_which_nothing_is_done_is_known_as_one(polyprompt, done):
    folder, _ = done
    for kept in (folder / CELLS).iterdir():
        kept.unlink()
    code, _, message = polyprompt("report", folder)
    assert (code, message.splitlines()[-1]) == (
        2, f"polyprompt: {folder}: holds no results yet. Run the same `polyprompt run` again; it does what is missing."
    )  # fmt: skip


def test_hidden_files_beside_results_are_passed_over(polyprompt, done):
    """Such as macOS leaves on disks of others."""
    folder, words = done
    for place in (CELLS, FAILURES):
        (folder / place / "._0.json").write_bytes(b"\0\5\26\7")
    assert polyprompt(*words)[:2] == (0, "1 cell, 0 to do\n")
    assert polyprompt("report", folder, "--out", folder / "report.md")[0] == 0


def test_what_is_done_is_not_done_again(polyprompt, done):
    folder, words = done
    before = {path: path.stat().st_mtime_ns for path in (folder / CELLS).iterdir()}
    assert polyprompt(*words)[:2] == (0, "1 cell, 0 to do\n")
    assert {path: path.stat().st_mtime_ns for path in (folder / CELLS).iterdir()} == before


def test_a_damaged_result_is_told_and_not_counted(polyprompt, done):
    folder, words = done
    (kept,) = (folder / CELLS).iterdir()
    kept.write_bytes(kept.read_bytes()[:200])
    code, out, message = polyprompt(*words)
    assert (code, out) == (2, "")
    assert message.splitlines()[-1].startswith(f"polyprompt: {kept}: damaged, this is no result of a grid. Remove it")


def test_results_of_another_figures_version_are_told_and_stay(polyprompt, done):
    folder, words = done
    (kept,) = (folder / CELLS).iterdir()
    kept = as_of_version(kept, FIGURES - 1)
    before = kept.read_bytes()
    code, _, message = polyprompt("report", folder, "--out", folder / "report.md")
    assert code == 2
    assert f"{folder}: 1 result is of another figures version and left out" in message
    assert message.splitlines()[-1] == (
        f"polyprompt: {folder}: holds no results yet. Run the same `polyprompt run` again; it does what is missing."
    )
    code, out, message = polyprompt(*words, "--dry-run")
    assert (code, "1 cell, 1 to do" in out) == (0, True)
    assert kept.read_bytes() == before


def test_a_cell_that_another_run_has_is_waited_for(polyprompt, done, tmp_path):
    """The other one brings its result while this one waits; it is taken, and not made again."""
    folder, words = done
    (kept,) = (folder / CELLS).iterdir()
    shutil.rmtree(folder / "claims")
    aside = kept.rename(tmp_path / kept.name)
    claim = take(folder / "claims" / kept.stem)
    brought = Path(shutil.copy(aside, folder / CELLS / f".{kept.stem}"))
    shutil.rmtree(folder / "failures")

    def bring():
        while not (folder / "failures").exists():  # until the worker has begun
            time.sleep(0.01)
        time.sleep(0.7)
        claim.publish(brought, kept)

    other = Thread(target=bring, daemon=True)
    other.start()
    code, out, _ = polyprompt(*words)
    other.join(10)
    assert (code, "1 of 1 cells have results" in out) == (0, True)
    assert kept.read_bytes() == aside.read_bytes()


def test_a_result_that_came_a_moment_ago_is_not_made_again(polyprompt, done, tmp_path):
    """Whoever had the cell brings its result between two looks of this one: at the result, and at the claim."""
    folder, words = done
    (kept,) = (folder / CELLS).iterdir()
    aside = kept.rename(tmp_path / kept.name)

    log = folder / "logs" / f"{kept.stem}.txt"
    log.unlink()

    def bring(path, mode, _):
        if mode == "x" and Path(path).parent == folder / "claims" / kept.stem:
            shutil.copy(aside, kept)

    with heard("open", bring):
        assert polyprompt(*words)[0] == 0
    assert kept.read_bytes() == aside.read_bytes()
    assert [path.name for path in (folder / "claims" / kept.stem).iterdir()] == ["1"]
    assert not log.exists(), "it was done again"


@pytest.mark.slow
def test_two_runs_share_their_cells(program, squares, clip, tmp_path):
    """Both end well; no cell is done twice."""
    words = [
        "run", "few-shot", "--methods", "coop", "--shots", "1,2", "--seeds", "1,2", "--set", "epochs=1",
        "--data", squares, "--encoders", clip, "--out", tmp_path / "grid",
    ]  # fmt: skip
    both = [program(*words) for _ in range(2)]
    for one in both:
        out, message = one.communicate(timeout=250)
        assert (one.returncode, "13 of 13 cells have results" in out) == (0, True), message
    assert len(results_in(tmp_path / "grid")) == 13
    assert [len(list(claim.iterdir())) for claim in (tmp_path / "grid" / "claims").iterdir()] == [1] * 13


# Precision


def test_precision_is_decided_once_for_a_grid(polyprompt, squares, clip, tmp_path, monkeypatch):
    """Another moment, another machine: what was decided stays, also where results alone say it."""

    folder = tmp_path / "grid"
    words = ["run", "zero-shot", "--data", squares, "--encoders", clip, "--out", folder]

    def measured(bf16):
        monkeypatch.setattr(kept_precision, "choose_precision", lambda: choice(1.0, bf16))

    measured(9.0)
    assert polyprompt(*words, "--dry-run")[1].splitlines()[-1].startswith("1 cell, 1 to do: about ")
    assert not folder.exists()
    assert polyprompt(*words)[0] == 0
    assert json.loads((folder / KEPT).read_text()) == {"precision": "bf16"}
    (result,) = results_in(folder)
    assert result.cell.settings["precision"] == "bf16"
    measured(1.0)
    assert polyprompt(*words)[1] == "1 cell, 0 to do\n"
    (folder / KEPT).unlink()  # as earlier versions left a grid
    assert polyprompt(*words)[1] == "1 cell, 0 to do\n"
    (folder / KEPT).write_text('{"precision": "fp8"}\n')
    code, _, message = polyprompt(*words)
    assert (code, "damaged, it names no precision" in message) == (2, True)
