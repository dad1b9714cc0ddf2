"""From the rows of a reader to pictures with classes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from polyprompt.data.captions import missing_line
from polyprompt.data.items import Labelled, Picture
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.names import (
    LIST,
    check_class_names,
    is_code,
    is_numbered,
    is_placeholder,
    refuse_half_characters,
)
from polyprompt.data.odd import is_list
from polyprompt.data.rows import Row
from polyprompt.errors import BadPicturesError, DataError


@dataclass
class Classes:
    """The classes of a source: a label has one name, a name one label, but for `twins`.

    `order` gives their order where labels are numbers; else they are sorted by name.
    """

    twins: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Names that the published runs prompt with, by what the source calls the class."""
    name_of: dict[str | int, str] = field(default_factory=dict)
    first: dict[str | int, str] = field(default_factory=dict)
    """Where each label was seen first."""
    label_of: dict[str, str | int] = field(default_factory=dict)

    def add(self, row: Row) -> str | int:
        """The label of a row, once it is clear that it agrees with those before.

        Raises:
            DataError: no class, a number or code in place of a name, half a character, or a label with two names.
        """
        label = row.label if row.label is not None else row.class_name
        if label is None or label == "" or row.class_name == "":
            raise DataError(
                f"{row.where}: the class of {row.key} is empty (nan and null count as that); name it or delete the row"
            )
        if label in self.name_of and row.class_name is None:
            return label
        name = row.class_name if row.class_name is not None else str(label)
        name = self.renamed.get(name, name)
        self._check(row, label, name)
        self.name_of[label] = name
        self.first.setdefault(label, row.where)
        self.label_of.setdefault(name, label)
        return label

    def labels(self) -> list[str | int]:
        """All labels in order: numbers by size, names as they sort."""
        return sorted(self.name_of, key=lambda label: (isinstance(label, str), label))

    def _check(self, row: Row, label: str | int, name: str) -> None:
        refuse_half_characters(name, f"{row.where}, the class name")
        if is_list(name):
            raise DataError(f"{row.where}: the class is a list written as text, {name!r:.80}; a picture has one class")
        if row.class_name is None and is_code(name):
            raise DataError(
                f"{row.where}: the label is {name}, {'a number' if name.isdecimal() else 'no word'}; a text model "
                f"needs names: add a column class_name to a table, or a file {LIST} to class folders, "
                f"with '{name}' and a name in a line"
            )
        if (known := self.name_of.setdefault(label, name)) != name:
            raise _disagreement(row, label, name, known, self.first[label])
        other = self.label_of.setdefault(name, label)
        if other != label and name not in self.twins:
            raise _disagreement(row, name, label, other, self.first[other])


def labelled_of(
    name: str, place: str, rows: Iterable[Row], classes: Classes, class_names: Sequence[str] | None, max_bad: int
) -> Labelled:
    """The labels of some rows, and their pictures.

    Args:
        name: of the result.
        place: the source, for what is told.
        rows: those of the wanted splits.
        classes: all of the source, those of other splits included.
        class_names: see `read.read_labelled`.
        max_bad: how many pictures may be missing.

    Raises:
        BadPicturesError: more than `max_bad` are missing.
        DataError: one class only, two of one name, a label that does not match its folder or the given classes.
    """
    order = classes.labels()
    data_names = tuple(classes.name_of[label] for label in order)
    names = check_class_names(data_names if class_names is None else class_names, name, twins=classes.twins)
    number = {label: i for i, label in enumerate(order)}
    if names != data_names:
        number = _numbers_among(names, classes, name)
    _warn_of_codes(name, place, data_names)
    pictures: dict[str, Picture] = {}
    labels: list[int] = []
    missing: dict[str, str] = {}
    gaps: list[tuple[int, int]] = []
    last = ""
    for row in rows:
        if row.where == last:  # a picture with several captions in one record
            continue
        last = row.where
        label = classes.add(row)
        if label not in number:
            raise DataError(_not_expected(row, classes.name_of[label], names))
        if row.picture is None:
            if row.key not in missing:
                gaps.append((len(pictures), number[label]))
            missing.setdefault(row.key, missing_line(row))
            continue
        if row.key in pictures:
            raise DataError(f"{row.where}: the picture {row.key!r} has a line already; take one out")
        pictures[row.key] = row.picture
        labels.append(number[label])
    if len(missing) > max_bad:
        raise BadPicturesError(name, list(missing.values()), max_bad)
    skipped = tuple(missing.values())
    return Labelled(name, tuple(pictures.values()), tuple(labels), names, classes.twins, skipped, tuple(gaps))


def refuse_other_folders(rows: Iterable[Row], classes: Classes) -> None:
    """Where pictures lie in folders called like classes, folder and label must agree.

    Raises:
        DataError: a picture lies in the folder of another class.
    """
    names = set(classes.name_of.values())
    rows = list(rows)
    folder_of = [PurePosixPath(row.key).parent.name for row in rows]
    if not set(folder_of) <= names:
        return
    for row, folder in zip(rows, folder_of, strict=True):
        if folder != (name := classes.name_of[classes.add(row)]):
            raise DataError(
                f"{row.where}: {row.key} lies in the folder of class {folder!r}, but its label is {name!r}; "
                "move it or correct the label"
            )


def _numbers_among(names: Sequence[str], classes: Classes, name: str) -> dict[str | int, int]:
    """The place of each label's name among other names."""
    if len(set(names)) < len(names):
        raise DataError(f"{name}: its classes are not those of the other set, which has two of one name; give the same")
    place = {class_name: i for i, class_name in enumerate(names)}
    return {label: place[class_name] for label, class_name in classes.name_of.items() if class_name in place}


def _not_expected(row: Row, class_name: str, names: Sequence[str]) -> str:
    return (
        f"{row.where}: class {class_name!r} is not among the {len(names)} expected "
        f"({', '.join(names[:8])}{', ...' if len(names) > 8 else ''}); rename it or take it out"
    )


def _warn_of_codes(name: str, place: str, class_names: Sequence[str]) -> None:
    if codes := [class_name for class_name in class_names if is_code(class_name)]:
        number = count(len(codes), "class is", "classes are")
        say_once(place, f"{name}: {number} called by numbers or signs ({some(codes)}); prompts say them as they are.")
    way = f"a file {LIST} beside class folders, or a column class_name in a table, says what they are"
    if numbered := [class_name for class_name in class_names if is_numbered(class_name)]:
        number = count(len(numbered), "class has a number before its name", "classes have numbers before their names")
        say_once(place, f"{name}: {number} ({some(numbered)}), and prompts say it, too; {way}.")
    if counted := [class_name for class_name in class_names if is_placeholder(class_name)]:
        number = count(len(counted), "class has a number in the place of a name", "classes have numbers for names")
        say_once(place, f"{name}: {number} ({some(counted)}), which says nothing to a text model; {way}.")


def _disagreement(row: Row, one: str | int, other: str | int, known: str | int, first: str) -> DataError:
    return DataError(
        f"{row.where}: {str(one)!r} goes with {str(other)!r} here, but with {str(known)!r} at {first}; "
        "one label, one class name"
    )
