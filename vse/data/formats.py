"""Caption lists with splits of their own as they lie on disk: Flickr8K's text files, Karpathy's JSON, COCO's; photos.

Each reader returns a `CaptionList`: what the file says, checked for sense, and where its photos may be.
Whether the photos are there is not looked at here: `vse.data.datasets` joins the two.
"""

from pathlib import Path

from vse.data.caption_lists import (
    CaptionList,
    check_name,
    kind_of,
    read_csv,
    read_text,
    read_token_list,
    read_tokens,
    split_name,
    table_captions,
    with_splits,
)
from vse.data.photo_files import walk_photos
from vse.system.errors import InputError
from vse.system.files import parse_json

SPLIT_FILES = {
    "train": "Flickr_8k.trainImages.txt",
    "dev": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
TOKEN_FILE = "Flickr8k.token.txt"
FLICKR8K_PHOTOS = ("Flicker8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset", "Flickr8k_Dataset")
# Where the photos of a list usually are, from its folder or the one above.
PHOTO_FOLDERS = ("images", "Images", "photos", "Photos", "imgs", "flickr30k-images", "flickr30k_images")
_MISTAKES = 80  # characters of a value that an error quotes


def read_flickr8k(texts: Path) -> CaptionList:
    """The official Flickr8K lists in the folder `texts`. Raises InputError for doubled ids, split overlap."""
    top = texts.parent if texts.name == "Flickr8k_text" else texts
    listed = CaptionList("flickr8k", folders=[top / f for f in (*FLICKR8K_PHOTOS, "Images", "images", ".")], home=top)
    split_of: dict[str, str] = {}
    for split, file in SPLIT_FILES.items():
        if not (texts / file).is_file():
            raise InputError(f"{texts}: has {TOKEN_FILE} but no {file}; unpack Flickr8k_text.zip whole")
        for number, line in enumerate(read_text(texts / file).split("\n"), 1):
            if not (image := line.strip()):
                continue
            check_name(image, f"{texts / file}, line {number}")
            if image in split_of:
                also = "twice" if split_of[image] == split else f"and in {split_of[image]} too"
                raise InputError(f"{texts / file}, line {number}: {image} is in {split} {also}; keep one of the two")
            split_of[image] = split
    for image, text, _ in read_tokens(texts / TOKEN_FILE):
        listed.split_of.setdefault(image, split_of.get(image, ""))
        listed.captions.append((image, text))
    listed.split_of |= {image: split for image, split in split_of.items() if image not in listed.split_of}
    return listed


def read_json_list(path: Path) -> CaptionList:
    """The captions of a JSON file, Karpathy's or COCO's. Raises InputError if it is neither."""
    try:
        content = parse_json(read_text(path), path)
    except InputError as error:
        if "not valid JSON" not in str(error):
            raise
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{path}: not whole JSON ({reason}); was the transfer cut? fetch it again") from None
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise InputError(
            f'{path}: no list "images"; expected a Karpathy file such as dataset_flickr30k.json, '
            "or COCO's captions_train2017.json"
        )
    if isinstance(content.get("annotations"), list):
        return _read_coco(path, content)
    return _read_karpathy(path, content)


def _read_karpathy(path: Path, content: dict) -> CaptionList:
    """The images and raw sentences of a Karpathy JSON (`dataset_*.json`)."""
    name = content.get("dataset")
    name = name if isinstance(name, str) and name.isprintable() and name else path.stem.removeprefix("dataset_")
    listed = CaptionList(name, home=path.parent)
    for number, entry in enumerate(content["images"]):
        where = f"{path}, images[{number}]"
        try:
            image, split, folder = entry["filename"], entry["split"], entry.get("filepath") or ""
            texts = [sentence["raw"] for sentence in entry["sentences"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f'{where}: expected the keys "filename", "split" and "sentences" (each with "raw"); {error!r}'
            ) from None
        for key, value in {"filename": image, "split": split, "filepath": folder}.items():
            if not isinstance(value, str):
                raise InputError(f'{where}: "{key}" is {str(value)[:_MISTAKES]!r}; expected a string')
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f'{where}: a "raw" sentence is not text; expected a string')
        image = check_name(f"{folder}/{image}" if folder else image, where)
        if image in listed.split_of:
            raise InputError(f"{where}: {image} is there twice; keep one of the two entries")
        listed.split_of[image] = split_name(split, where)
        listed.captions += [(image, text) for text in texts]
    by_name = (f"{name}_images", f"{name}-images", name, f"{name}/images")
    usual = (".", "images", "Images", *by_name, *PHOTO_FOLDERS, *FLICKR8K_PHOTOS)
    listed.folders = [path.parent / folder for folder in usual if ".." not in folder and not folder.startswith("/")]
    return listed


def _read_coco(path: Path, content: dict) -> CaptionList:
    """The images and captions of COCO's `captions_*.json`; its splits are files, so these get one by a hash."""
    listed = CaptionList(f"coco:{path.stem}", home=path.parent)
    names: dict[int | str, str] = {}
    for number, entry in enumerate(content["images"]):
        where = f"{path}, images[{number}]"
        key, image = (entry.get("id"), entry.get("file_name")) if isinstance(entry, dict) else (None, None)
        if not isinstance(key, (int, str)) or not isinstance(image, str):
            raise InputError(f'{where}: expected the keys "id" (a number) and "file_name" (a string)')
        if key in names or image in listed.split_of:
            raise InputError(f"{where}: {image} or its id {str(key)[:_MISTAKES]} is there twice; keep one of the two")
        names[key] = check_name(image, where)
        listed.split_of[image] = ""
    lost = 0
    for number, entry in enumerate(content["annotations"]):
        where = f"{path}, annotations[{number}]"
        key, text = (entry.get("image_id"), entry.get("caption")) if isinstance(entry, dict) else (None, None)
        if not isinstance(key, (int, str)) or not isinstance(text, str):
            raise InputError(
                f'{where}: expected the keys "image_id" (a number) and "caption" (a string), '
                "as COCO's captions_*.json has them; instances_*.json and others have no captions"
            )
        if key in names:
            listed.captions.append((names[key], text))
        else:
            lost += 1
    if lost:
        listed.notes.append(f"captions of images that the file does not list: {lost}, left out")
    part = path.stem.removeprefix("captions_")  # train2017
    tops = (path.parent, path.parent.parent)
    listed.folders = [top / f for top in tops for f in (part, f"images/{part}", *PHOTO_FOLDERS)] + [path.parent]
    return with_splits(listed)


def read_list(path: Path) -> CaptionList:
    """The caption list in a file, recognised by its content. Raises InputError for a file that is none."""
    kind = kind_of(path)
    if kind == "json":
        return read_json_list(path)
    if kind == "tokens" and path.name == TOKEN_FILE and (path.parent / SPLIT_FILES["train"]).is_file():
        return read_flickr8k(path.parent)
    listed = read_token_list(path) if kind == "tokens" else read_csv(path)  # which says what columns it lacks
    listed.folders = [path.parent / f for f in (".", *PHOTO_FOLDERS, *FLICKR8K_PHOTOS)]
    return listed


def read_captions(path: Path) -> list[str]:
    """The captions of any list, without the names of their photos; of another text file its lines. Blank ones dropped.

    Raises InputError for a file that is absent, not UTF-8, a table without a column `caption`, or without a caption.
    """
    path = Path(path)
    text = read_text(path)
    kind = kind_of(path)
    if kind == "json":
        captions = [text for _, text in read_json_list(path).captions]
    elif kind == "tokens":
        captions = [text for _, text, _ in read_tokens(path)]
    elif kind == "table" or path.suffix.lower() in (".csv", ".tsv"):
        captions = table_captions(path)
    else:
        captions = text.splitlines()
    captions = [" ".join(caption.splitlines()).strip() for caption in captions if caption.strip()]
    if not captions:
        raise InputError(f"{path}: no caption in it, expected one a line")
    return captions


def read_photo_folder(folder: Path) -> tuple[CaptionList, list[str]]:
    """Every photo below `folder`, by its path from there (with /), sorted; no captions, no splits. And other files."""
    files = walk_photos(folder)
    name, no_split = f"photos:{folder.resolve().name}", dict.fromkeys(files.photos, "")
    return CaptionList(name, no_split, folders=[folder], notes=files.notes(), home=folder), files.others
