"""Pictures that are trained on and scored are told, whatever they are called."""

from bits import photos

from polyprompt.data.copies import warn_of_copies
from polyprompt.data.items import Picture
from polyprompt.data.read import read_labelled
from polyprompt.runs.adapt import adapt
from polyprompt.runs.settings import AdaptSettings


def of(key: str, data: bytes | None) -> Picture:
    def read() -> bytes:
        if data is None:
            raise FileNotFoundError(key)
        return data

    return Picture(key, read)


def test_equal_bytes_under_two_names_are_counted(tmp_path, capsys):
    trained = [of("a.png", b"1"), of("b.png", b"2"), of("gone.png", None)]
    scored = {"test": [of("x.png", b"2"), of("y.png", b"3"), of("lost.png", None)], "also": [of("a.png", b"4")]}
    warn_of_copies(str(tmp_path), trained, scored)
    message = capsys.readouterr().err
    assert "test: 1 picture is trained on as well, byte for byte, so its figures flatter: x.png is b.png." in message
    assert "also" not in message


def test_adapt_tells_of_a_copy_before_it_scores(tmp_path, cache, capsys):
    from toy_encoders import toy_encoder

    photos(tmp_path / "photos")
    classes = read_labelled(str(tmp_path / "photos")).class_names
    for name in classes:
        for picture in sorted((tmp_path / "photos" / name).iterdir()):
            copy = tmp_path / "others" / name / picture.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(picture.read_bytes() + b" " * (picture.name != "0.png"))
    given = {"data": str(tmp_path / "photos"), "test": str(tmp_path / "others"), "encoder": "toy"}
    adapt(
        AdaptSettings(**given, method={"name": "zeroshot"}, shots=None), tmp_path / "run", encoder=toy_encoder("clip")
    )
    assert "test: 1 picture is trained on as well, byte for byte" in capsys.readouterr().err
