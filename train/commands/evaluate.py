"""python -m train evaluate: a bundle and a split in; every score with its interval out, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

from framecap.config import Config, load_config
from framecap.errors import ConfigError

PAGE_SEED = 1  # before and after a change the same images are read
EXAMPLE = """--bundle my_bundle --data caption_data --split val --beam 5 --out scores.json
  python -m train evaluate --data caption_data --show 40 --page captions.html      captions to read and count"""
TEXT = """Caption every photo of a split as the worker would, and score the captions.

One caption a photo, by free-running beam search, against all raw references of the photo; 95% intervals by bootstrap over
the photos. What could not be measured is said, and why: METEOR needs Java; SPICE needs Java and language models that
`python -m pycocoevalcap.spice.get_stanford_models` downloads once. The scores:

"""


def arguments(parser: argparse.ArgumentParser) -> None:
    from train.evaluation.scores import DEFINITIONS

    parser.description = TEXT + "\n".join(
        textwrap.fill(text, 118, initial_indent=f"  {name:15} ", subsequent_indent=18 * " ")
        for name, text in DEFINITIONS.items()
    )
    add = parser.add_argument
    add("--bundle", help="a bundle's folder (captioning.bundle: the bundled model)")
    add("--data", type=Path, required=True, help="a data folder")
    add("--split", choices=("train", "val", "test"), default="val", help="what is captioned (val)")
    add("--beam", type=int, help="sentences searched side by side (captioning.beam: 5)")
    add("--json", action="store_true", help="print JSON, not a table")
    add("--out", type=Path, help="write the JSON to this file, too")
    add("--results", type=Path, help="write the captions to this file, in the results format of COCO's evaluation server")
    add("--show", type=int, metavar="N", help="write an HTML page of N images drawn by chance, to count what is right")
    add("--page", type=Path, default=Path("captions.html"), help="the page of --show (captions.html)")


def run(options: argparse.Namespace, _: Config) -> None:
    from framecap.captioning.bundle import open_bundle
    from train.data.dataset import DataFolder
    from train.evaluation.page import drawn, write_page
    from train.evaluation.report import as_json, as_text, report
    from train.evaluation.results import image_ids, need_folder_of, write_results
    from train.files import write_durably

    flags = {"captioning.beam": options.beam, "captioning.bundle": options.bundle}
    settings = load_config(options.config, flags).captioning
    folder, name = DataFolder(options.data), options.split.upper()
    bundle = open_bundle(settings.bundle)
    if options.show is not None and options.show < 1:
        raise ConfigError(f"--show {options.show}: must be 1 or more")
    for path in filter(None, (options.out, options.results, options.page if options.show else None)):
        need_folder_of(path)
    if options.results:
        image_ids(folder.split(name))  # what is missing is said before the work
    found = report(bundle, folder, name, settings)
    document = as_json(found)
    if options.out:
        write_durably(options.out, json.dumps(document, indent=1).encode() + b"\n")
    if options.results:
        write_results(options.results, folder.split(name), found.evaluation.captions)
    if options.show:
        split, captions = folder.split(name), found.evaluation.captions
        title = f"{bundle.card.name} {bundle.hash[:12]} on {options.split} of {folder.base}"
        write_page(options.page, title, split, captions, drawn(len(split), options.show, PAGE_SEED))
    print(json.dumps(document) if options.json else as_text(found))
