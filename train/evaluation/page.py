"""An HTML page to read captions by: images, captions, confidences, references, and buttons to count what is right."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from framecap.captioning.caption import Caption
from framecap.captioning.repetition import repeated_words
from train.data.dataset import Split
from train.files import write_durably

KINDS = ("right", "partly", "wrong")
SHOWN_REFERENCES = 5
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 85)
STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
header { background: #fff; border-bottom: 1px solid #ccc; padding: .5rem 0; position: sticky; top: 0; }
article { display: flex; gap: 1rem; margin: 1rem 0; }
img { height: 224px; width: 224px; }
h2 { font-size: 1.2rem; margin: 0; }
ul { color: #555; margin: .3rem 0; padding-left: 1.2rem; }
button { font: inherit; margin-right: .4rem; padding: .2rem .8rem; }
button[aria-pressed=true] { background: #246; color: #fff; }
"""
SCRIPT = """
const kinds = ["right", "partly", "wrong"];
function count() {
  const all = document.querySelectorAll("article");
  const found = kinds.map(kind => kind + " " + document.querySelectorAll(`article[data-is=${kind}]`).length);
  const open = [...all].filter(one => !one.dataset.is).length;
  document.getElementById("count").textContent = found.join(", ") + `, not judged ${open}, of ${all.length}`;
}
document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  const article = button.closest("article");
  article.dataset.is = button.value;
  for (const one of article.querySelectorAll("button")) one.setAttribute("aria-pressed", one === button);
  count();
});
count();
"""


def drawn(photos: int, count: int, seed: int) -> list[int]:
    """The places of `count` photos (or of all) drawn by chance, in order; the same seed draws the same."""
    addresses = np.random.default_rng(seed).permutation(photos)[:count]
    return sorted(int(index) for index in addresses)


def write_page(path: Path, title: str, split: Split, captions: Sequence[Caption], addresses: Sequence[int]) -> None:
    """Write one self-contained page of these photos of the split; `captions` has one for each photo of the split."""
    articles = "".join(_article(split, captions[index], index) for index in addresses)
    name = html.escape(title)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style></head>\n'
        f'<body><header><h1>{name}</h1><p id="count"></p></header>\n{articles}<script>{SCRIPT}</script></body></html>\n'
    )
    write_durably(path, page.encode())


def _article(split: Split, caption: Caption, index: int) -> str:
    pixels = split.read_images(index, index + 1)[0]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), JPEG)
    assert done
    image = base64.b64encode(data.tobytes()).decode()
    references = "".join(f"<li>{html.escape(' '.join(words))}</li>" for words in split.references[index][:SHOWN_REFERENCES])
    buttons = "".join(
        f'<button value="{kind}" aria-pressed="false">{kind}</button>' for kind in ("right", "partly", "wrong")
    )
    return (
        f'<article><img src="data:image/jpeg;base64,{image}" alt=""><div><h2>{html.escape(caption.text)}</h2>'
        f"<p>{_about(caption)}</p><p>{buttons}</p><ul>{references}</ul></div></article>\n"
    )


def _about(caption: Caption) -> str:
    output = ["no confidence" if caption.confidence is None else f"confidence {caption.confidence:.2f}"]
    if caption.uncertain:
        output.append("uncertain")
    if repeated := repeated_words(caption.words):
        output.append(f"says {html.escape(', '.join(repeated))} twice")
    return ", ".join(output)
