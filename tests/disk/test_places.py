"""Names of nothing: near names are offered, and the hub is asked only for what it can have."""

import pytest

from polyprompt.disk.places import may_be_on_hub, nearby


@pytest.fixture
def here(tmp_path, cd):
    """A working folder with runs in it."""
    cd(tmp_path)
    for name in ("pets", "photos", ".hidden"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "many").mkdir()
    for number in range(7):
        (tmp_path / "many" / str(number)).touch()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("runs/pest", " Did you mean 'runs/pets'?"),
        ("run", " Did you mean 'runs'?"),
        ("runs/xyzw", " runs holds pets, photos."),
        ("many/xyzw", " many holds 0, 1, 2, 3, 4 and 2 more."),
        ("xyzw", ""),  # all that lies in the working folder helps nobody
        ("none/pets", ""),
        ("runs/pets/xyzw", ""),
        ("runs/pets", ""),  # it is there
        ("x" * 5000, ""),
    ],
)
def test_what_lies_near(here, name, said):
    assert nearby(name) == said


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("org/name", True), ("name", True), ("google/siglip-base-patch16-224", True),
        ("runs/pest", False), ("a/b/c", False), ("./name", False), ("/name", False), ("name/", False), ("a b/c", False),
    ],
)  # fmt: skip
def test_what_may_be_on_the_hub(here, name, may):
    assert may_be_on_hub(name) is may


def test_what_was_fetched_is_still_found_beside_a_folder_of_the_owners_name(here, empty_hub):
    cached = empty_hub / "models--runs--pest"
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "snapshots" / "abc" / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    assert may_be_on_hub("runs/pest")
