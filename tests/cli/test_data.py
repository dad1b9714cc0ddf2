"""`polyprompt data`: list, show, check, fetch."""


def test_the_catalogue_is_listed_and_shown(polyprompt):
    code, out, _ = polyprompt("data", "list")
    assert code == 0
    assert "caltech101       labels    Caltech101" in out
    code, out, _ = polyprompt("data", "show", "EuroSAT")
    assert code == 0
    assert "pictures: train 13,500, val 5,400, test 8,100\n" in out
    assert "prompt: a centered satellite photo of {}.\n" in out
    code, out, _ = polyprompt("data", "show", "msrvtt")
    assert "pictures 1k-a: train 9,000, train-7k 7,010, test 1,000\n" in out


def test_what_is_not_as_published_ends_with_code_2(polyprompt, tmp_path):
    code, out, err = polyprompt("data", "check", "dtd", tmp_path)
    assert code == 2
    assert f"FAULTY  train: dtd: not there; looked for {tmp_path}/dtd" in out
    assert "dtd: 3 of 3 are not as published; they are named above." in err
    code, _, err = polyprompt("data", "check", "dtt", tmp_path)
    assert (code, "Did you mean 'dtd'" in err) == (2, True)


def test_steps_by_hand(polyprompt, tmp_path):
    code, out, _ = polyprompt("data", "fetch", "lsmdc", tmp_path)
    assert code == 0
    assert "Sign the agreement of its page" in out
    assert f"Then: polyprompt data check lsmdc {tmp_path}" in out


def test_a_part_that_there_is_not(polyprompt, tmp_path):
    assert polyprompt("data", "show", "pacs:photo")[0] == 0
    for words in (["show", "pacs:foto"], ["fetch", "pacs:foto", tmp_path], ["check", "pacs:foto", tmp_path]):
        code, out, err = polyprompt("data", *words)
        assert (code, out) == (2, "")
        assert "no part of pacs is called 'foto'. Did you mean 'photo'?" in err
    assert "eurosat: has no parts, but eurosat:x names one" in polyprompt("data", "show", "eurosat:x")[2]
