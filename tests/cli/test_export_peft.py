"""export-peft, as a shell runs it."""

import polyprompt as pp
from polyprompt.adapt.engine import build
from polyprompt.methods import clip_lora, coop
from polyprompt.runs.saved import save


def test_a_run_of_clip_lora_becomes_two_files(clip, polyprompt, tmp_path):
    save(build(clip_lora.Config(), pp.load_encoder(str(clip)), ["cat", "dog"]), tmp_path / "run")
    code, out, _ = polyprompt("export-peft", tmp_path / "run", tmp_path / "peft")
    assert (code, out.split(": ")[1]) == (0, "adapter_config.json and adapter_model.safetensors, 0.03 MB, for PEFT\n")
    code, _, err = polyprompt("export-peft", tmp_path / "run", tmp_path / "peft")
    assert (code, err.count("\n")) == (2, 1)
    assert "exists already" in err


def test_a_run_of_another_method_is_one_line(clip, polyprompt, tmp_path):
    save(build(coop.Config(context=2), pp.load_encoder(str(clip)), ["cat", "dog"]), tmp_path / "run")
    code, _, err = polyprompt("export-peft", tmp_path / "run", tmp_path / "peft")
    assert (code, err.count("\n")) == (2, 1)
    assert "only clip_lora" in err
