"""Office-Home: a domain is a part, as in `office-home:art`; all of a domain is scored."""

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import domains

PLACES = {
    "art": ("Art", "art"),
    "clipart": ("Clipart", "clipart"),
    "product": ("Product", "product"),
    "real_world": ("Real World", "RealWorld", "real_world"),
}

ENTRY = Entry(
    title="Office-Home (Venkateswara et al. 2017), 65 classes in 4 domains",
    holds="labels",
    rows=domains(PLACES),
    folders=("office_home", "OfficeHomeDataset_10072016", "OfficeHome", "office_home_dg"),
    parts=tuple(PLACES),
    counts={"art": 2427, "clipart": 4365, "product": 4439, "real_world": 4357},
    classes=65,
    template="a photo of a {}.",
    order="the folders', sorted",
    page="https://www.hemanthdv.org/officeHomeDataset.html",
    licence="non-commercial research",
    steps=(
        "Fetch OfficeHomeDataset_10072016.zip from the Google Drive link of its page",
        "Unpack it as office_home/{Art,Clipart,Product,Real World}/<class>",
    ),
)
