"""Every entry is whole, and reads a miniature of its official layout, with that layout's traps."""

import io
import json
import lzma
from pathlib import Path

import pytest
from miniatures import Root, labelled, picture
from PIL import Image

from polyprompt.data import catalog
from polyprompt.data.items import Labelled, Pairs
from polyprompt.data.layouts import PACKAGED, imagenet_names, subset
from polyprompt.data.read import read_labelled, read_pairs, read_scored, splits_of
from polyprompt.errors import DataError, ImageError, PolypromptError, UnknownNameError

COOP = {
    "caltech101": ("caltech-101/101_ObjectCategories", "split_zhou_Caltech101.json"),
    "oxford-pets": ("oxford_pets/images", "split_zhou_OxfordPets.json"),
    "stanford-cars": ("stanford_cars", "split_zhou_StanfordCars.json"),
    "flowers102": ("oxford_flowers/jpg", "split_zhou_OxfordFlowers.json"),
    "food101": ("food-101/images", "split_zhou_Food101.json"),
    "sun397": ("sun397/SUN397", "split_zhou_SUN397.json"),
    "dtd": ("dtd/images", "split_zhou_DescribableTextures.json"),
    "eurosat": ("eurosat/2750", "split_zhou_EuroSAT.json"),
    "ucf101": ("ucf101/UCF-101-midframes", "split_zhou_UCF101.json"),
}
OTHERS = {  # as torchvision and others unpack it
    "caltech101": "caltech101/101_ObjectCategories",
    "oxford-pets": "oxford-iiit-pet/images",
    "flowers102": "flowers-102/jpg",
    "dtd": "dtd/dtd/images",
    "sun397": "SUN397",
}
TWINS = ("missile", "sunglasses")


@pytest.fixture
def root(tmp_path, environ) -> Root:
    """An empty folder of data sets, which POLYPROMPT_DATA names."""
    environ(POLYPROMPT_DATA=tmp_path)
    return Root(tmp_path)


def captions(pairs: Pairs) -> list[tuple[str, str]]:
    return [(pairs.images[i].key, text) for i, text in zip(pairs.image_of, pairs.captions, strict=True)]


@pytest.mark.parametrize("name", catalog.names())
def test_every_entry_is_whole(name):
    entry = catalog.entry(name)
    assert entry.page.startswith("http")
    assert entry.title
    assert entry.licence
    assert entry.downloads or entry.steps or name == "openmoji"
    assert entry.folders or name == "openmoji"
    for part in entry.parts or ("",):
        for split in entry.splits_in(part) or (None,):
            assert entry.expected(entry.counts, part, split)
    if entry.holds == "labels":
        assert "{}" in entry.template
        assert entry.classes > 1
        assert entry.order


def test_the_brief_list_of_sets_is_there():
    names = set(catalog.names())
    assert set(COOP) | {"imagenet", "fgvc-aircraft"} <= names
    assert {f"imagenet-{x}" for x in ("v2", "sketch", "a", "r")} <= names
    assert {"pacs", "vlcs", "office-home", "domainnet", "flickr8k", "flickr30k", "coco"} <= names
    assert {"msrvtt", "msvd", "didemo", "lsmdc", "openmoji", "stsb", "sickr"} | {
        f"sts{y}" for y in range(12, 17)
    } <= names


@pytest.mark.parametrize("name", ["OxfordPets", "oxford_pets", "oxford-pets", "OXFORDPETS"])
def test_names_are_found_however_they_are_spelled(name):
    assert catalog.known(name) == "oxford-pets"
    with pytest.raises(UnknownNameError, match=r"no data set is called 'oxfordpet'. Did you mean 'oxford-pets'"):
        catalog.entry("oxfordpet")


# Where a set lies


@pytest.mark.parametrize("source", ["eurosat", "eurosat@~no-such-user/x"])
def test_a_root_in_nobodys_home_folder(source, environ):
    environ(POLYPROMPT_DATA="~no-such-user/x")
    with pytest.raises(DataError, match=r"^eurosat: nobody has the home folder in ~no-such-user/x"):
        read_labelled(source)


@pytest.mark.parametrize("root", ["/" + 300 * "x", 5000 * "x/"])
def test_a_root_with_a_name_that_no_disk_can_have(root):
    with pytest.raises(DataError, match=r"^eurosat: not there; looked for [x/]*/eurosat"):
        read_labelled(f"eurosat@{root}")


def test_links_in_circles_below_published_folders(root, capsys):
    for wnid in ("n01440764", "n01443537"):
        root.pictures(f"imagenet/val/{wnid}/1.JPEG")
    root.file("lsmdc/LSMDC16_annos_val.csv", "film_1\t0\t1\t0\t1\tSOMEONE sits.\n").file(
        "lsmdc/film/film_1.avi", b"clip"
    )
    for place in ("imagenet/val/n01440764/a.JPEG", "imagenet/val/n01484850", "lsmdc/b.avi"):
        (root.path / place).symlink_to((root.path / place).name)
    assert len(read_labelled("imagenet", "val").pictures) == 2
    assert "left out 2 broken link (val/n01440764/a.JPEG" in capsys.readouterr().err
    assert len(read_pairs("lsmdc", "val").images) == 1


def test_the_root_is_in_the_name_or_in_the_environment(root, environ, tmp_path_factory):
    root.pictures("eurosat/2750/Forest/1.jpg", "eurosat/2750/River/1.jpg")
    root.json("eurosat/split_zhou_EuroSAT.json", {"test": [["Forest/1.jpg", 0, "Forest"], ["River/1.jpg", 1, "River"]]})
    for source in ("eurosat", f"eurosat@{root.path}", f"EuroSAT@{root.path / 'eurosat'}"):
        assert labelled(read_labelled(source, "test")) == [("Forest/1.jpg", "Forest"), ("River/1.jpg", "River")]
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DataError, match=rf"eurosat: not there; looked for {empty}/eurosat"):
        read_labelled(f"eurosat@{empty}", "test")
    environ(POLYPROMPT_DATA=None)
    with pytest.raises(
        DataError, match="Set POLYPROMPT_DATA to the folder that holds eurosat/, or write eurosat@FOLDER"
    ):
        read_labelled("eurosat", "test")
    with pytest.raises(DataError, match="names no folder; write eurosat@FOLDER"):
        read_labelled("eurosat@", "test")


def test_what_exists_is_what_is_meant(root, cd, capsys):
    root.pictures("dtd/cat/1.png", "dtd/dog/1.png")
    cd(root.path)
    assert read_labelled("dtd").class_names == ("cat", "dog")
    assert "what lies here under this name is read; write dtd@FOLDER for the published set" in capsys.readouterr().err


def test_a_set_of_another_kind_and_an_unknown_part(root):
    with pytest.raises(DataError, match="eurosat: holds labels, not captions"):
        read_pairs("eurosat")
    with pytest.raises(DataError, match="eurosat: has no parts, but eurosat:x names one"):
        read_labelled("eurosat:x")
    with pytest.raises(UnknownNameError, match=r"no part of pacs is called 'foto'. Did you mean 'photo'"):
        read_labelled("pacs:foto")
    with pytest.raises(DataError, match="pacs: name a part of it: pacs:art_painting, "):
        read_labelled("pacs")


def test_other_classes_than_the_published_are_told(root, capsys):
    for name in ("dog", "cat"):
        root.pictures(f"PACS/photo/{name}/1.png")
    read_labelled("pacs:photo")
    assert "pacs:photo: 2 classes, the published set has 7; figures are not comparable" in capsys.readouterr().err


def test_office_home_as_dassl_has_it(root):
    """Folders train and val within a domain were two classes, where the number of pictures is as published."""
    for place in ("train/Bed/1", "train/TV/1", "val/Bed/1", "val/TV/2"):
        root.pictures(f"office_home_dg/art/{place}.jpg")
    assert labelled(read_labelled("office-home:art")) == [
        ("art/train/Bed/1.jpg", "Bed"),
        ("art/train/TV/1.jpg", "TV"),
        ("art/val/Bed/1.jpg", "Bed"),
        ("art/val/TV/2.jpg", "TV"),
    ]


def test_vlcs_as_dassl_has_it(root):
    for place in ("train/0/1", "crossval/4/2", "test/0/3"):
        root.pictures(f"VLCS/PASCAL/{place}.jpg")
    assert sorted(labelled(read_labelled("vlcs:pascal"))) == [
        ("pascal/crossval/4/2.jpg", "person"),
        ("pascal/test/0/3.jpg", "bird"),
        ("pascal/train/0/1.jpg", "bird"),
    ]


def test_class_folders_beside_a_domains_splits_are_told(root, capsys):
    root.pictures(*(f"PACS/photo/{place}/1.jpg" for place in ("train/dog", "train/cat", "val/dog", "horse")))
    assert len(read_labelled("pacs:photo").pictures) == 3
    assert "PACS/photo: left out horse; train and val are its splits." in capsys.readouterr().err


# CoOp's eleven


@pytest.mark.parametrize("name", COOP)
@pytest.mark.parametrize("layout", ["CoOp's", "another"])
def test_coops_sets(root, name, layout, capsys):
    place, file = COOP[name]
    place = OTHERS.get(name, place) if layout == "another" else place
    own = place.split("/")[0]
    root.pictures(f"{place}/b/1.jpg", f"{place}/a/1.jpg", f"{place}/b/2.jpg")
    root.json(f"{own}/{file}", {"train": [["b/1.jpg", 1, "a"], ["a/1.jpg", 0, "b"]], "test": [["b/2.jpg", 1, "a"]]})
    train, test = read_labelled(name, "train"), read_labelled(name, "test")
    assert train.class_names == test.class_names == ("b", "a")  # by label, not by name
    assert labelled(train) == [("b/1.jpg", "a"), ("a/1.jpg", "b")]
    assert (train.name, test.labels) == (f"{name}:train", (1,))
    assert test.pictures[0].open().size == (3, 2)
    assert splits_of(name) == ("test", "train", "val")
    assert f"{name}:test: 1 pictures, the published set has " in capsys.readouterr().err


def test_a_missing_split_file_is_taken_from_the_package(root, capsys):
    splits = json.loads(lzma.decompress((PACKAGED / "split_zhou_DescribableTextures.json.xz").read_bytes()))
    for name in (entry[0] for split in splits.values() for entry in split):
        root.file(f"dtd/images/{name}", b"")
    test = read_labelled("dtd", "test")
    assert (len(test.pictures), len(test.class_names), test.class_names[46]) == (1692, 47, "zigzagged")
    message = capsys.readouterr().err
    assert "no split_zhou_DescribableTextures.json beside it, so the copy that comes with polyprompt is read" in message
    assert "published set" not in message  # it is whole
    missing = splits["train"][-1][0]
    (root.path / "dtd/images" / missing).unlink()
    with pytest.raises(DataError, match=rf"no picture '{missing}'. Mend or remove it"):
        read_labelled("dtd", "train")
    root.pictures("food-101/images/apple_pie/1.jpg")
    with pytest.raises(
        DataError, match=r"food-101: no split_zhou_Food101.json in it. https://huggingface.co/zhengli97"
    ):
        read_labelled("food101", "test")


def test_names_are_corrected_in_a_split_file_that_has_the_old_ones(root):
    root.pictures("eurosat/2750/SeaLake/1.jpg", "eurosat/2750/River/1.jpg")
    entries = [["SeaLake/1.jpg", 9, "SeaLake"], ["River/1.jpg", 8, "River"]]
    root.json("eurosat/split_zhou_EuroSAT.json", {"test": entries})
    assert read_labelled("eurosat", "test").class_names == ("River", "Sea or Lake")


def test_aircraft_has_lists_of_variants(root):
    folder = "fgvc_aircraft"
    root.file(f"{folder}/variants.txt", "F-16A/B\n707-320\n")
    for split, lines in (
        ("train", "0034309 707-320\n0034310 F-16A/B\n"),
        ("val", "1 F-16A/B\n"),
        ("test", "2 707-320"),
    ):
        root.file(f"{folder}/images_variant_{split}.txt", lines)
    root.pictures(*(f"{folder}/images/{name}.jpg" for name in ("0034309", "0034310", "1", "2")))
    train = read_labelled("fgvc-aircraft", "train")
    assert train.class_names == ("F-16A/B", "707-320")
    assert labelled(train) == [("images/0034309.jpg", "707-320"), ("images/0034310.jpg", "F-16A/B")]
    root.file(f"{folder}/images_variant_test.txt", "2 Concorde")
    with pytest.raises(DataError, match=r"images_variant_test.txt, line 1: 'Concorde' is not in variants.txt"):
        read_labelled("fgvc-aircraft", "test")
    (root.path / folder / "images_variant_test.txt").unlink()
    with pytest.raises(DataError, match=r"images_variant_test.txt: no such file"):
        read_labelled("fgvc-aircraft", "test")


# ImageNet and its variants


def test_the_names_of_imagenet_are_those_of_clip():
    names = list(imagenet_names().values())
    assert len(names) == 1000
    assert (names[657], names[744], names[836], names[837]) == ("missile", "missile", "sunglasses", "sunglasses")
    assert next(iter(imagenet_names())) == "n01440764"


def whole_imagenet(root, place: str) -> None:
    for wnid in imagenet_names():
        root.file(f"{place}/{wnid}/{wnid}_1.JPEG", b"")


@pytest.mark.parametrize(
    ("folder", "val"), [("imagenet", "images/val"), ("imagenet", "val"), ("ILSVRC", "Data/CLS-LOC/val")]
)
def test_imagenet_keeps_its_twins_and_scores_val(root, folder, val):
    whole_imagenet(root, f"{folder}/{val}")
    test = read_labelled("imagenet", "test")
    assert len(test.class_names) == 1000
    assert test.twins == TWINS
    assert test.labels == tuple(range(1000))
    assert labelled(test)[744] == (f"{val}/n04008634/n04008634_1.JPEG", "missile")
    second = read_labelled("imagenet", "val", class_names=test.class_names)
    assert second.labels == test.labels  # by number: two names are the same
    with pytest.raises(
        DataError, match=rf"{folder}: its pictures are not there; looked for .*images/train or .*/train"
    ):
        read_labelled("imagenet", "train")


def test_twins_are_refused_in_a_users_own_data():
    with pytest.raises(DataError, match="the classes 'missile' and 'Missile' have one name"):
        Labelled("mine", (), (), ("missile", "Missile"))
    assert Labelled("theirs", (), (), ("missile", "missile"), twins=TWINS).class_names == ("missile", "missile")
    with pytest.raises(DataError, match="have one name"):
        Labelled("theirs", (), (), ("crane", "crane"), twins=TWINS)


def test_a_val_that_is_not_sorted_into_folders(root):
    root.pictures("imagenet/images/val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(DataError, match="no class folders in it; sort its pictures into a folder per class"):
        read_labelled("imagenet", "val")


def test_another_list_of_names_is_believed_and_told(root, capsys):
    root.pictures("imagenet/val/n01440764/1.JPEG", "imagenet/val/n01443537/1.JPEG")
    lines = [f"{wnid} {name}" for wnid, name in imagenet_names().items()]
    lines[0] = "n01440764 a tench"
    root.file("imagenet/classnames.txt", "\n".join(lines))
    assert read_labelled("imagenet", "val").class_names == ("a tench", "goldfish")
    assert "1 name is not those of CoOp's list (n01440764 is 'a tench', not 'tench')" in capsys.readouterr().err
    root.file("imagenet/classnames.txt", "n01440764 tench\n")
    with pytest.raises(DataError, match=r"has no name for 999 ids \(n01443537, "):
        read_labelled("imagenet", "val")


def test_v2_counts_its_folders_as_numbers(root):
    for place in ("imagenetv2/imagenetv2-matched-frequency-format-val", "imagenetv2-matched-frequency-format-val"):
        root.pictures(*(f"{place}/{number}/x.jpeg" for number in (0, 1, 2, 10, 100)))
    data = read_labelled("imagenet-v2", "test")
    assert data.class_names == tuple(list(imagenet_names().values())[number] for number in (0, 1, 2, 10, 100))
    assert [(Path(key).parent.name, name) for key, name in labelled(data)][2] == ("10", "brambling")


@pytest.mark.parametrize(("name", "place"), [("a", "imagenet-adversarial/imagenet-a"), ("r", "imagenet-r")])
def test_a_and_r_have_200_classes_of_their_own(root, name, place, capsys):
    names = read_names(root, name, place)
    assert len(names) == 200
    assert list(names) == sorted(names, key=list(imagenet_names().values()).index)
    assert names.count("missile") == (name == "r")
    assert "README" not in capsys.readouterr().err  # it lies beside the folders, not in them


def test_a_list_of_the_200_names_alone_will_do(root):
    ids = subset("imagenet_a_synsets.txt")()
    root.pictures(*(f"imagenet-adversarial/imagenet-a/{wnid}/1.jpg" for wnid in ids[:2]))
    names = [imagenet_names()[wnid] for wnid in ids]
    root.file("imagenet-adversarial/classnames.txt", "".join(f"{w} {n}\n" for w, n in zip(ids, names, strict=True)))
    assert read_labelled("imagenet-a", "test").class_names == tuple(names[:2])
    root.file("imagenet-adversarial/classnames.txt", f"{ids[1]} {names[1]}\n")
    with pytest.raises(DataError, match=rf"has no name for 199 ids \({ids[0]}, "):
        read_labelled("imagenet-a", "test")


def read_names(root, name, place):
    for wnid in subset(f"imagenet_{name}_synsets.txt")():
        root.file(f"{place}/{wnid}/1.jpg", b"")
    root.file(f"{place}/README.txt", "text")
    root.pictures(f"{place}/n01440765/1.jpg")  # no class of ImageNet
    return read_labelled(f"imagenet-{name}", "test").class_names


def test_sketch_may_lie_as_it_is_unpacked(root):
    root.pictures("imagenet-sketch/sketch/n01440764/sketch_1.JPEG", "imagenet-sketch/sketch/n01443537/sketch_1.JPEG")
    assert read_labelled("imagenet-sketch", "test").class_names == ("tench", "goldfish")


# Domains


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("pacs:photo", "PACS/photo"),
        ("pacs:sketch", "pacs/images/sketch"),
        ("vlcs:pascal", "VLCS/VOC2007"),
        ("office-home:real_world", "office_home/Real World"),
        ("domainnet:real", "domain_net/real"),
    ],
)
def test_a_domain_is_a_part(root, source, place, capsys):
    root.pictures(f"{place}/dog/1.jpg", f"{place}/The_Eiffel_Tower/1.JPG")
    data = read_labelled(source)
    part = source.split(":")[1]
    assert labelled(data) == [(f"{part}/The_Eiffel_Tower/1.JPG", "The_Eiffel_Tower"), (f"{part}/dog/1.jpg", "dog")]
    assert data.name == source
    assert splits_of(source) == ()
    assert f"{source}: 2 pictures, the published set has " in capsys.readouterr().err


def test_the_broken_picture_of_pacs_is_left_out_and_told(root, capsys):
    root.pictures("pacs/sketch/dog/n02103406_4068-1.png", data=b"broken")
    root.pictures("pacs/sketch/dog/1.png", "pacs/sketch/cat/1.png")
    assert len(read_labelled("pacs:sketch").pictures) == 2
    assert "left out sketch/dog/n02103406_4068-1.png, which is broken in the published set" in capsys.readouterr().err


# Captions of pictures


@pytest.mark.parametrize("name", ["flickr8k", "flickr30k", "coco"])
@pytest.mark.parametrize("place", ["", "caption_datasets/"])
def test_karpathys_splits(root, name, place):
    images = [
        {"filename": f"{i}.jpg", "split": split, "sentences": [{"raw": f"{i} {word}"} for word in "ab"]}
        | ({"filepath": "val2014"} if name == "coco" else {})
        for i, split in enumerate(["train", "restval" if name == "coco" else "train", "val", "test"])
    ]
    root.json(f"{name}/{place}dataset_{name}.json", {"images": images})
    folder = "images/val2014" if name == "coco" else "Images"
    root.pictures(*(f"{name}/{folder}/{i}.jpg" for i in range(4)))
    prefix = "val2014/" if name == "coco" else ""
    assert captions(read_pairs(name, "train")) == [(f"{prefix}{i}.jpg", f"{i} {w}") for i in (0, 1) for w in "ab"]
    assert captions(read_pairs(name, "dev"))[0] == (f"{prefix}2.jpg", "2 a")
    with pytest.raises(UnknownNameError, match=r"'tset'. Did you mean 'test'"):
        read_pairs(name, "tset")


def test_flickr8k_without_karpathys_file(root, capsys):
    root.pictures("flickr8k/images/1.jpg").file("flickr8k/captions.tsv", "file\tcaption\tsplit\n1.jpg\ta dog\tdev\n")
    assert captions(read_pairs("flickr8k", "val")) == [("1.jpg", "a dog")]
    assert "no dataset_flickr8k.json in it; the table beside the pictures is read" in capsys.readouterr().err
    (root.path / "flickr8k/captions.tsv").unlink()
    with pytest.raises(DataError, match=r"no dataset_flickr8k.json in it; looked for .*caption_datasets"):
        read_pairs("flickr8k")


# Captions of clips


def msrvtt(root):
    for name, parts in (("train_val_videodatainfo", ("train", "validate")), ("test_videodatainfo", ("test", "test"))):
        start = 0 if name.startswith("train") else 2
        videos = [{"video_id": f"video{start + i}", "split": split} for i, split in enumerate(parts)]
        sentences = [
            {"video_id": v["video_id"], "caption": f"{v['video_id']} {w}", "sen_id": 0} for v in videos for w in "ab"
        ]
        root.json(f"msrvtt/{name}.json", {"info": {}, "videos": videos, "sentences": sentences})
    root.file("msrvtt/MSRVTT_JSFUSION_test.csv", 'key,video_id,sentence\nret0,video2,"a man , walking"\n')
    for i in range(4):
        root.file(f"msrvtt/videos/all/video{i}.mp4", b"clip")


def test_msrvtt_has_two_protocols(root):
    msrvtt(root)
    root.file("msrvtt/._test_videodatainfo.json", b"\0\5\xff")  # macOS's shadow
    assert captions(read_pairs("msrvtt:full", "train")) == [("video0", "video0 a"), ("video0", "video0 b")]
    assert captions(read_pairs("msrvtt:full", "dev"))[0] == ("video1", "video1 a")
    assert len(read_pairs("msrvtt:full", "test").captions) == 4
    assert captions(read_pairs("msrvtt:1k-A", "test")) == [("video2", "a man , walking")]
    nine = read_pairs("msrvtt:1k-a", "train")
    assert {picture.key for picture in nine.images} == {"video0", "video1", "video3"}
    assert [picture.key for picture in read_pairs("msrvtt:1k-a", "train-7k").images] == ["video0", "video1"]
    with pytest.raises(UnknownNameError, match="no split of msrvtt:1k-a is called 'val'"):
        read_pairs("msrvtt:1k-a", "val")
    with pytest.raises(DataError, match="msrvtt: name a part of it: msrvtt:full, msrvtt:1k-a"):
        read_pairs("msrvtt", "test")


def test_clips_that_two_of_msrvtts_files_have_are_read_once(root, capsys):
    msrvtt(root)
    whole = captions(read_pairs("msrvtt:full", "train+val+test"))
    files = [
        json.loads((root.path / f"msrvtt/{name}_videodatainfo.json").read_text()) for name in ("train_val", "test")
    ]
    assert "in several files" not in capsys.readouterr().err
    root.json("msrvtt/MSRVTT_data.json", {part: files[0][part] + files[1][part] for part in ("videos", "sentences")})
    assert sorted(captions(read_pairs("msrvtt:full", "train+val+test"))) == sorted(whole)
    assert len(read_pairs("msrvtt:1k-a", "train").captions) == 6
    told = capsys.readouterr().err
    assert "msrvtt: 4 clips are in several files; read is video2 from MSRVTT_data.json, not test_video" in told


def test_a_split_of_which_nothing_is_there(root):
    msrvtt(root)
    (root.path / "msrvtt/test_videodatainfo.json").unlink()
    with pytest.raises(DataError, match=rf"^msrvtt:full: nothing of its split 'test' is there \(msrvtt in {root.path}"):
        read_pairs("msrvtt:full", "test")
    with pytest.raises(UnknownNameError, match=r"no split of msrvtt:full is called 'tset'. Did you mean 'test'"):
        read_pairs("msrvtt:full", "tset")


def test_msvd_is_read_from_text_and_never_from_a_pickle(root):
    for split, name in (("train", "a_0_5"), ("val", "b_1_6"), ("test", "c-_2_7")):
        root.file(f"msvd/{split}_list.txt", f"{name}\n").file(f"msvd/YouTubeClips/{name}.avi", b"clip")
    root.file("msvd/raw-captions.pkl", b"\x80")
    with pytest.raises(
        DataError, match=r"raw-captions.pkl is a pickle, and none is opened; put AllVideoDescriptions.txt"
    ):
        read_pairs("msvd", "test")
    lines = "/* a comment of\n several lines */\nc-_2_7 a cat sits\nc-_2_7 it sits\na_0_5 a dog\nb_1_6 a bird\n"
    root.file("msvd/AllVideoDescriptions.txt", lines)
    assert captions(read_pairs("msvd", "test")) == [("c-_2_7", "a cat sits"), ("c-_2_7", "it sits")]
    (root.path / "msvd/train_list.txt").write_text("c-_2_7\n")
    with pytest.raises(DataError, match=r"msvd: c-_2_7 is in train_list.txt and test_list.txt; a clip has one split"):
        read_pairs("msvd", "test")


def test_didemo_joins_the_sentences_of_a_video(root):
    moments = [("v1.mov", "the dog runs "), ("v2.avi", "a cat"), ("v1.mov", "it stops")]
    root.json("didemo/test_data.json", [{"video": v, "description": d, "times": [[0, 1]]} for v, d in moments])
    root.file("didemo/videos/v1.mov", b"clip").file("didemo/videos/v2.mp4", b"clip")
    assert captions(read_pairs("didemo", "test")) == [("v1.mov", "the dog runs it stops"), ("v2.avi", "a cat")]


def test_lsmdc_has_six_fields(root):
    line = "0001_American_Beauty_00.00.51.926-00.00.54.129\t0\t1\t0\t1\tSOMEONE sits."
    root.file("lsmdc/LSMDC16_challenge_1000_publictect.csv", line + "\n")
    root.file(f"lsmdc/0001_American_Beauty/{line.split(chr(9))[0]}.avi", b"clip")
    assert captions(read_pairs("lsmdc", "test")) == [(line.split("\t")[0], "SOMEONE sits.")]
    root.file("lsmdc/LSMDC16_challenge_1000_publictect.csv", "\n\nclip\tSOMEONE sits.\n")
    with pytest.raises(DataError, match="line 3: 2 fields, needs 6 with tabs"):
        read_pairs("lsmdc", "test")


# Sentences


def test_semevals_files_without_the_pairs_that_have_no_score(root):
    folder = "STS/STS15-en-test"
    root.file(f"{folder}/STS.input.a.txt", 'a "dog\ta cat\nno\tscore\n').file(f"{folder}/STS.gs.a.txt", "1.5\n\n")
    root.file(f"{folder}/STS.input.b.txt", "x\ty\turl\n").file(f"{folder}/STS.gs.b.txt", "5\n")
    data = read_scored("sts15", "test")
    assert (data.first, data.second, data.scores) == (('a "dog', "x"), ("a cat", "y"), (1.5, 5.0))
    root.file(f"{folder}/STS.gs.b.txt", "5\n1\n")
    with pytest.raises(DataError, match=r"STS.input.b.txt: 1 lines, but STS.gs.b.txt has 2"):
        read_scored("sts15")


def test_semevals_files_as_windows_saves_them(root, capsys):
    for folder, mark, end in (("STS12", "", "\n"), ("STS13", "\ufeff", "\r\n")):
        place = f"STS/{folder}-en-test"
        root.file(f"{place}/STS.input.a.txt", f"{mark}a dog\ta cat{end}x\ty{end}")
        root.file(f"{place}/STS.gs.a.txt", f"{mark}1.5{end}5{end}")
    windows = read_scored("sts13", "test")
    assert (windows.first, windows.second, windows.scores) == (("a dog", "x"), ("a cat", "y"), (1.5, 5.0))
    assert windows.first == read_scored("sts12", "test").first
    gold = root.path / "STS/STS12-en-test/STS.gs.a.txt"
    gold.unlink()
    with pytest.raises(DataError, match=rf"^{gold}: no such file$"):
        read_scored("sts12")


def test_stsb_and_sick(root):
    root.file("stsbenchmark/sts-dev.csv", 'main\tMSRvid\t2012\t1\t5.000\tA "plane\tAn air plane\textra\n')
    assert read_scored("stsb", "dev").scores == (5.0,)
    head = "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score\tSemEval_set"
    root.file("SICK/SICK.txt", f"{head}\n1\tA kid\tA child\tNEUTRAL\t4.5\tTRAIN\n2\tx\ty\tNEUTRAL\t1\tTEST\n")
    assert read_scored("sickr", "test").first == ("x",)
    root.file("SICK/SICK.txt", f"{head}\n1\tA kid\tA child\tNEUTRAL\thigh\tTRAIN\n")
    with pytest.raises(DataError, match=r"SICK.txt, line 2: the score is 'high'; give a number"):
        read_scored("sickr")
    root.file("SICK/SICK.txt", f"{head.replace('_A', 'A')}\n1\tA kid\tA child\tNEUTRAL\t4\tTRAIN\n")
    with pytest.raises(DataError, match=r"SICK.txt, line 2: sentence_A is None; give a text"):
        read_scored("sickr")


# Pictures as these sets have them


def exif_turned() -> bytes:
    turned = Image.Exif()
    turned[0x0112] = 6
    return picture(size=(3, 2), exif=turned.tobytes())


def sixteen_bits() -> bytes:
    buffer = io.BytesIO()
    Image.new("I;16", (3, 2), 40_000).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "size"),
    [
        ("grey.JPEG", picture(mode="L"), (3, 2)),
        ("cmyk.JPEG", picture(mode="CMYK"), (3, 2)),
        ("png_inside.JPEG", picture(kind="PNG"), (3, 2)),
        ("gif_inside.jpg", picture(kind="GIF"), (3, 2)),
        ("palette.PNG", picture(kind="PNG", mode="P"), (3, 2)),
        ("alpha.png", picture(kind="PNG", mode="RGBA"), (3, 2)),
        ("sixteen.png", sixteen_bits(), (3, 2)),
        ("turned.jpg", exif_turned(), (2, 3)),
        ("été ☕.jpg", picture(), (3, 2)),
    ],
)
def test_pictures_of_all_kinds_are_read(root, name, data, size):
    root.pictures(f"imagenet/val/n01440764/{name}", f"imagenet/val/n01443537/{name}", data=data)
    data = read_labelled("imagenet", "val")
    assert [picture.key.split("/")[-2:] for picture in data.pictures] == [["n01440764", name], ["n01443537", name]]
    opened = data.pictures[0].open()
    assert (opened.mode, opened.size) == ("RGB", size)


def test_corrupt_pictures_are_counted_or_raise_when_opened(root):
    root.pictures("imagenet/val/n01440764/a.jpg", "imagenet/val/n01443537/a.jpg")
    root.pictures("imagenet/val/n01440764/b.jpg", data=picture(size=(64, 64))[:200])
    with pytest.raises(ImageError, match=r"val/n01440764/b.jpg: "):
        read_labelled("imagenet", "val").pictures[1].open()
    data = read_labelled("imagenet", "val", max_bad=1)
    assert (len(data.pictures), len(data.skipped)) == (2, 1)
    root.pictures("imagenet/val/n01440764/c.jpg", data=b"")
    with pytest.raises(PolypromptError, match=r"b.jpg: .* \(and 1 more\)"):
        read_labelled("imagenet", "val", max_bad=1)


@pytest.mark.parametrize(
    ("name", "linked", "told"),
    [
        (
            "msrvtt:full",
            "msrvtt/videos",
            "msrvtt: 4 pictures lie outside its folder (video2.mp4, video3.mp4, video0.mp4 and 1 more).",
        ),
        ("msrvtt:1k-a", "msrvtt/videos", "msrvtt: 4 pictures lie outside its folder (video2.mp4"),
        ("msvd", "msvd/YouTubeClips", "msvd: 1 picture lies outside its folder (c.avi)."),
        ("didemo", "didemo/videos", "didemo: 1 picture lies outside its folder (v.mp4)."),
        ("lsmdc", "lsmdc/film", "lsmdc: 1 picture lies outside its folder (film_1.avi)."),
        (
            "fgvc-aircraft",
            "fgvc_aircraft/images",
            "fgvc_aircraft: 2 pictures lie outside its folder (images/2.jpg, images/3.jpg).",
        ),
        ("oxford-pets", "oxford_pets/images", "OxfordPets.json: 2 pictures lie outside its folder (c/1.jpg, d/1.jpg)."),
    ],
)
def test_pictures_in_a_linked_folder_are_told(name, linked, told, root, tmp_path_factory, capsys):
    msrvtt(root)
    for split in ("train", "val", "test"):
        root.file(f"msvd/{split}_list.txt", "c\n" if split == "test" else "")
        root.file(f"fgvc_aircraft/images_variant_{split}.txt", "2 707-320\n3 F-16\n" if split == "test" else "")
    root.file("msvd/YouTubeClips/c.avi", b"clip").file("msvd/AllVideoDescriptions.txt", "c a cat sits\n")
    root.json("didemo/test_data.json", [{"video": "v.mp4", "description": "a dog"}])
    root.file("didemo/videos/v.mp4", b"clip")
    line = "film_1\t0\t1\t0\t1\tSOMEONE sits.\n"
    root.file("lsmdc/LSMDC16_challenge_1000_publictect.csv", line).file("lsmdc/film/film_1.avi", b"clip")
    root.file("fgvc_aircraft/variants.txt", "707-320\nF-16\n")
    splits = {"train": [], "val": [], "test": [["c/1.jpg", 0, "cat"], ["d/1.jpg", 1, "dog"]]}
    root.json("oxford_pets/split_zhou_OxfordPets.json", splits)
    root.pictures("oxford_pets/images/c/1.jpg", "oxford_pets/images/d/1.jpg")
    root.pictures("fgvc_aircraft/images/2.jpg", "fgvc_aircraft/images/3.jpg")
    read = read_labelled if name in ("fgvc-aircraft", "oxford-pets") else read_pairs
    read(name, "test")
    assert "outside" not in capsys.readouterr().err
    elsewhere = (root.path / linked).rename(tmp_path_factory.mktemp("disk") / "moved")
    (root.path / linked).symlink_to(elsewhere)
    read(name, "test")
    assert told in capsys.readouterr().err
