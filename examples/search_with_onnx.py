"""Search a folder of pictures with the two files of `polyprompt export RUN TOWERS`, without torch or polyprompt.

pip install numpy onnxruntime pillow tokenizers
python search_with_onnx.py TOWERS PICTURES "a dog on a beach"
"""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image
from tokenizers import Tokenizer


def pixels_of(path, say):
    """A picture [3, size, size], as the image tower was trained to see it."""
    picture, size = Image.open(path).convert("RGB"), say["size"]
    side = int(size / say["crop"])
    short = min(picture.size)
    width, height = (side, side) if say["resize"] == "squash" else (side * edge // short for edge in picture.size)
    picture = picture.resize((width, height), Image.Resampling[say["interpolation"].upper()])
    left, top = round((width - size) / 2), round((height - size) / 2)
    pixels = np.asarray(picture.crop((left, top, left + size, top + size)), np.float32) / 255
    return ((pixels - np.float32(say["mean"])) / np.float32(say["std"])).transpose(2, 0, 1)


folder, pictures, text = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
say = json.loads((folder / "towers.json").read_text(encoding="utf-8"))
words = Tokenizer.from_file(str(folder / "tokenizer.json"))
words.encode_special_tokens = True  # "<s>" in a query is three characters
ids = np.array([(say["front"] + words.encode(text, add_special_tokens=False).ids)[: say["max_tokens"]]], np.int64)
query = InferenceSession(folder / "text.onnx").run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]

tower = InferenceSession(folder / "image.onnx")
files = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
scores = [
    float((tower.run(None, {"pixels": pixels_of(file, say["preprocess"])[None]})[0] @ query.T)[0, 0]) for file in files
]
for place in np.argsort(scores)[::-1][:10]:
    print(f"{scores[place]:.4f}  {files[place]}")
