"""BLEU-1 to 4, METEOR, ROUGE-L and CIDEr of captions by pycocoevalcap after its PTB tokenizer, scaled as in tables.

BLEU, METEOR and ROUGE-L are percent; CIDEr, which is CIDEr-D with document frequencies from the references given, is
times 100. Tokenizer and METEOR are Java programs inside pycocoevalcap: where Java is not found, METEOR is None and
nltk's Treebank tokenizer stands in (8 of 40,455 captions of Flickr8K differ). No SPICE: it downloads at run time.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycocoevalcap
from jaxtyping import Float64
from nltk.tokenize import NLTKWordTokenizer
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

from vse.system.errors import InputError

METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l", "cider")
PROGRAMS = Path(pycocoevalcap.__path__[0])


def evaluate_captions(references: Sequence[Sequence[str]], captions: Sequence[str]) -> dict[str, float | None]:
    """Each of METRICS of one caption an image against its references, over all images; METEOR is None without Java."""
    return score_captions(references, captions)[0]


def per_image_captions(
    references: Sequence[Sequence[str]], captions: Sequence[str]
) -> dict[str, Float64[np.ndarray, " images"] | None]:
    """Each of METRICS of every image, for paired bootstrap and correlations.

    The means of ROUGE-L and CIDEr are those of the corpus, those of BLEU and METEOR are not. An image's BLEU-4 is about
    0 where no four words in a row are a reference's.
    """
    return score_captions(references, captions)[1]


def score_captions(
    references: Sequence[Sequence[str]], captions: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, Float64[np.ndarray, " images"] | None]]:
    """What `evaluate_captions` and `per_image_captions` return, computed once. Raises InputError."""
    if not captions or len(captions) != len(references):
        raise InputError(f"{len(captions)} captions, {len(references)} images; expected one caption an image")
    for i, texts in enumerate(references):
        if isinstance(texts, str) or not texts:
            raise InputError(f"image {i} has no references; expected a list of one text or more")
    java = has_java()
    if not java:
        print("no METEOR, and nltk's tokenizer: Java is not found (apt install default-jre-headless)", file=sys.stderr)
    expected, candidates = tokenize_all(references, captions, java)
    scores = dict(
        zip(METRICS[:4], zip(*Bleu(4).compute_score(expected, candidates, verbose=0), strict=True), strict=True)
    )
    scores["meteor"] = _meteor(expected, candidates) if java else (None, None)
    scores["rouge_l"] = Rouge().compute_score(expected, candidates)
    scores["cider"] = Cider().compute_score(expected, candidates)
    corpus = {name: None if total is None else 100 * float(total) for name, (total, _) in scores.items()}
    images = {name: None if texts is None else 100 * np.array(texts, np.float64) for name, (_, texts) in scores.items()}
    return corpus, images


def has_java() -> bool:
    """Whether a Java that runs is found; on some systems `java` is only a hint at where to get one."""
    return shutil.which("java") is not None and not subprocess.run(["java", "-version"], capture_output=True).returncode


def tokenize_all(
    references: Sequence[Sequence[str]], captions: Sequence[str], java: bool
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """The references of each image and its one caption, tokenized, as pycocoevalcap's scorers take them."""
    words = iter(tokenize([*captions, *(text for texts in references for text in texts)], java))
    candidates = {i: [next(words)] for i in range(len(captions))}
    return {i: [next(words) for _ in texts] for i, texts in enumerate(references)}, candidates


def tokenize(texts: Sequence[str], java: bool) -> list[str]:
    """The lower-case tokens of each text with spaces between, without pycocoevalcap's PUNCTUATIONS."""
    lines = [" ".join(text.split()) for text in texts]  # a line each: other line breaks would shift all that follow
    if java:
        jar = PROGRAMS / "tokenizer" / STANFORD_CORENLP_3_4_1_JAR
        program = ("-cp", jar, "edu.stanford.nlp.process.PTBTokenizer")
        output = _run_java(*program, "-preserveLines", "-lowerCase", text="".join(f"{line}\n" for line in lines))
        lines = output.removesuffix("\n").split("\n")
        if len(lines) != len(texts):
            raise InputError(f"the PTB tokenizer made {len(lines)} lines of {len(texts)} captions; look for odd signs")
    else:
        treebank = NLTKWordTokenizer()
        lines = [" ".join(treebank.tokenize(line, convert_parentheses=True)).lower() for line in lines]
    return [" ".join(token for token in line.split() if token not in PUNCTUATIONS) for line in lines]


def _meteor(expected: dict[int, list[str]], candidates: dict[int, list[str]]) -> tuple[float, list[float]]:
    """METEOR 1.5 of the corpus and of each image, from 0 to 1.

    It reads files here: pycocoevalcap's own way, a pipe, waits for ever after a failure. A file has as many references
    for each image as for the others, so some are repeated; only the best one counts, so that changes nothing.
    """
    most = max(map(len, expected.values()))
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "captions"), Path(folder, "references")
        files[0].write_text("".join(f"{texts[0]}\n" for texts in candidates.values()), encoding="utf-8")
        rows = (texts[k % len(texts)] for texts in expected.values() for k in range(most))
        files[1].write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        program = ("-Xmx2G", "-jar", PROGRAMS / "meteor" / "meteor-1.5.jar")
        output = _run_java(*program, *files, "-r", str(most), "-l", "en", "-norm")
    images = [float(score) for score in re.findall(r"^Segment \d+ score:\s*(\S+)", output, re.MULTILINE)]
    total = re.search(r"^Final score:\s*(\S+)", output, re.MULTILINE)
    if total is None or len(images) != len(candidates):
        raise InputError(
            f"METEOR scored {len(images)} of {len(candidates)} captions and ended with {output[-80:].strip()!r}"
        )
    return float(total[1]), images


def _run_java(*arguments: str | Path, text: str = "") -> str:
    """What a Java program prints, given `text`. Raises InputError with its last words if it fails."""
    command = ["java", *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        jar = next(Path(argument).name for argument in command if argument.endswith(".jar"))
        raise InputError(f"{jar}: Java stopped with {done.returncode} ({last}); it needs Java 8 or later and 2 GB")
    return done.stdout
