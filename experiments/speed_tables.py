"""The rows of the tables of speed: results/speed*.json -> header, cells; the Markdown is tables.py's."""

Table = tuple[list[str], list[list[str]]]


def speed(figures: dict) -> Table:
    """What was measured, beside what it is to be compared with, and on which machine in which precision."""
    lines = []

    def line(what: str, value: str, beside: str, part: dict) -> None:
        lines.append([what, value, beside, f"{part['precision']}, {part['machine']}"])

    for t in figures["training"]:
        compared = f"{t['ratio']:.1f} x a {t['plain']} loop; a step takes {t['times_floor']:.1f} x its floor"
        line(f"`{t['recipe']}` training, captions/s", f"{t['captions_per_s']:,.0f}", compared, t)
    f = figures["features"]
    line("Lite2 features, photos/s", f"{f['images_per_s']:.1f}", f"{100 * f['share']:.0f} % of the bare network", f)
    for r in figures["ranking"]:
        what = f"ranking {r['images']:,} x {r['captions']:,}, s"
        line(what, f"{r['seconds']:.2f}", f"{r['peak_mb']:,.0f} MB beside the vectors", r)
    c, lm = figures["captioning"], figures["language_model"]
    label = "1000 candidates of a photo, decoded and reranked, s"
    line(label, f"{c['seconds_an_image']:.2f}", f"{c['times_floor']:.1f} x the floor", c)
    cold = "models loaded, five captions; files in memory"
    line("a photo from a cold start, s", f"{c['cold_start_s']:.1f}", cold, c)
    line("trigram, sentences/s", f"{c['trigram_sentences_per_s']:,.0f}", "", c)
    trained = f"{lm['times_floor']:.1f} x the floor"
    line("SC-NLM training, captions/s", f"{lm['captions_per_s']:,.0f}", trained, lm)
    return ["", "measured", "", "precision, machine"], lines


def shares(*machines: dict) -> Table:
    """Where the time goes: of a training step its dearest operators, of a photo's captions and features their parts."""
    lines = []
    for figures in machines:
        for part in [*figures["training"], figures["captioning"] | {"recipe": "1000 candidates"}]:
            whole = 100 if "plain" in part else sum(part["shares"].values())
            spent = ", ".join(f"{name} {100 * share / whole:.0f} %" for name, share in part["shares"].items())
            lines.append([f"`{part['recipe']}` step" if "plain" in part else part["recipe"], part["precision"], spent])
        f = figures["features"]
        network, decoding = 1000 / f["bare_images_per_s"], 1000 * f["decode_s"]
        spent = f"one photo: network {network:.1f} ms on all cores, decoding and resizing {decoding:.1f} ms on one"
        lines.append(["Lite2 features", f["precision"], spent])
    return ["", "precision", "where the time goes"], lines
