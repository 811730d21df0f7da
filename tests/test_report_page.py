"""Pages: sound HTML that asks for nothing outside, numbers as in the files, hostile texts as texts; no failed run."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tiny_run

from common.errors import UserError
from genotypes import figure
from outcome import details as outcome
from outcome.samples import Box
from report import charts, plots
from report.facts import Series, run_of
from report.page import LARGEST, NAME, TEMPLATES, leave, leave_study, of_run, of_several, of_study, write
from report.run import main
from report.studies import studies_of
from report.summary import numbers

VOID = {"meta", "br", "link", "img", "input", "hr"}
EVIL = "<script>alert(1)</script>\"'><img src=http://x.y/z onerror=alert(2)>"


class Page(HTMLParser):
    """What a page is made of; refuses tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.values: dict[str, list[float]] = {}
        self.table = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.table = given.get("id") or given.get("class") or ""
        if given.get("data-value") is not None:
            self.values.setdefault(self.table, []).append(float(given["data-value"]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def several(*folders: Path) -> str:
    return of_several([run_of(folder) for folder in folders], studies_of(Path("logs"), {"vgd"}))


def pages() -> list[str]:
    found, trained = tiny_run.search(), tiny_run.training()
    tiny_run.study()
    (study,) = studies_of(Path("logs"), {"vgd"})
    together = several(found, trained, tiny_run.search("b", width=128))
    return [of_run(run_of(found)), of_run(run_of(trained)), together, of_study(study, [run_of(found)])]


def test_pages_are_sound_and_ask_for_nothing_outside() -> None:
    for text in pages():
        page = Page(text)
        ids = [given["id"] for _, given in page.tags if "id" in given]
        assert len(ids) == len(set(ids))
        for tag, given in page.tags:
            assert tag not in ("link", "img", "iframe", "object", "base")
            assert not {"src", "xlink:href", "action", "srcset"} & set(given)
            assert "href" not in given or (tag == "image" and given["href"].startswith("data:image/jpeg;base64,"))
            assert not any(name.startswith("on") for name in given)
            assert tag != "svg" or given.get("aria-label")
        assert "url(" not in text and "@import" not in text and not re.search(r"https?://", text)
        assert len(text.encode()) < LARGEST


def test_every_number_of_the_summary_is_one_of_the_files() -> None:
    run = run_of(tiny_run.search())
    shown = Page(of_run(run)).values["summary"]
    assert shown == [one.value for one in numbers(run)]
    genotype = json.loads(Path("genotypes/searched/vgd/found.json").read_text())
    go, total = tiny_run.GO, sum(tiny_run.GO["seconds"].values())
    known = [*genotype["supernet"].values(), *genotype["cost"].values(), go["words"], go["weights"], total, 0.25]
    assert len(shown) >= 9 and set(shown) <= set(known)


def test_every_score_of_a_training_is_one_of_its_file() -> None:
    page = Page(of_run(run_of(tiny_run.training())))
    told = json.loads(Path("logs/ckpts/result_test/details_trained.json").read_text())["testA"]
    beside = told["beside"]["accuracy"]
    # Kinds of samples stand in their group. Guessing by the score's own file comes before that of the samples.
    own = [81.5, beside["low"], beside["high"], 11.0, beside["baselines"]["words alone"]]
    assert page.values["scores"] == [*own, 70.0625]
    rows = [row for rows in told["groups"].values() for row in rows]
    numbers = [[row["count"], row["score"], row["low"], row["high"], *row["baselines"].values()] for row in rows]
    assert page.values["group"] == [value for row in numbers for value in row]
    assert page.values["confusions"] == [10, 40]
    assert sorted(page.values["time"])[:3] == [3.0, 4.25, 10.5]
    assert page.values["summary"][:3] == [81.5, 70.0625, 3]


def test_a_sample_stands_over_its_picture_or_on_an_empty_canvas() -> None:
    text = of_run(run_of(tiny_run.training()))
    assert text.count("<image ") == 1 and text.count('class="chart sample"') == 2
    assert "1 samples stand on an empty canvas" in text
    assert text.count('class="predicted"') == text.count('class="true"') == 2
    (shown, *_) = tiny_run.details().best
    weights = (0.0, 0.6, 1.0)
    regions = [Box((0.0, 0.0, 9.0, 9.0), weight=weight) for weight in weights]
    drawn = plots.Album().sample(dataclasses.replace(shown, prediction=shown.prediction._replace(boxes=regions)))
    assert re.findall('opacity="([0-9.]+)"', drawn) == ["0.25", "0.70", "1.00"]
    album = plots.Album(room=10)
    assert "<image" not in album.sample(shown) and album.missing == 1


def test_every_number_of_a_study_is_one_of_its_file() -> None:
    given = json.loads(tiny_run.study().read_text())
    (study,) = studies_of(Path("logs"), {"vgd"})
    values = Page(of_study(study, [])).values
    assert values["comparisons"] == [4.5, 2.0, 6.0, 0.03]
    networks = [one for group in given["groups"] for one in group["networks"]]
    assert values["networks"] == [x for one in networks for x in (*one["scores"] * 2, 70.0, 400.0)]
    assert values["groups"][:4] == [2, 80.5, 80.0, 81.0] and "--" not in study.command


def test_a_study_has_its_page_by_name_or_folder_and_beside_what_is_left_of_its_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tiny_run.study()
    page = path.with_name(NAME)
    (path.parent / "log/damaged").mkdir(parents=True)
    (path.parent / "log/damaged/run.json").write_text("{")
    assert leave_study(path.parent) == str(page)
    told = page.read_text()
    for name in ("vgd", "logs/evidence/vgd"):
        main([f"--run={name}"])
        assert page.read_text() == told
    assert capsys.readouterr().out.splitlines()[::2] == [f"report  {page}"] * 2
    path.write_text("{}")
    assert "make report RUN=logs/evidence/vgd tries again" in leave_study(path.parent)


def test_what_runs_say_stays_text() -> None:
    go = {key: EVIL if isinstance(value, str) else value for key, value in tiny_run.GO.items()}
    go |= {"diagnosis": [EVIL], "warnings": [EVIL], "remarks": [EVIL], "samples": {EVIL: 3}, "seconds": {EVIL: 1.0}}
    go |= {"hardware": {EVIL: EVIL}, "command": ["python", EVIL], "data": EVIL, "audit": {"line": EVIL}}
    folder = tiny_run.search("evil", go, estimator=EVIL, **{EVIL: EVIL})
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(
            json.dumps({"epoch": e, f"val/{EVIL}": 1.0 * e, f"search/decoder/{EVIL}": 9.0}) + "\n" for e in (1, 2)
        )
    genotype = Path("genotypes/searched/vgd/evil.json")
    genotype.write_text(genotype.read_text().replace('"feed_forward"', json.dumps(EVIL)))
    trained = tiny_run.training("t", metrics={EVIL: {EVIL: 3.0, "accuracy": 4.0}})
    path = Path("logs/ckpts/result_test/details_t.json")
    path.write_text(re.sub('"(red|blue|kind|the red one|how many)"', lambda _: json.dumps(EVIL), path.read_text()))
    hostile = folder.rename(folder.with_name(EVIL.replace("/", "|")))
    for text in (of_run(run_of(hostile)), of_run(run_of(trained)), several(hostile, trained)):
        page = Page(text)
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert not any(tag == "img" for tag, _ in page.tags)
        assert not any(name.startswith("on") for _, given in page.tags for name in given)
        assert "alert(1)" in text


def test_hundreds_of_epochs_and_the_published_space_stay_small() -> None:
    folder = tiny_run.search()
    epoch = json.loads(Path("logs/ckpts/arch/found.alphas.json").read_text())["epochs"]["epoch3"]
    epoch = {**epoch, "encoder": epoch["encoder"] * 12, "decoder": epoch["decoder"] * 9}
    epoch["probabilities"] = {
        side: blocks * (12, 9)[side == "decoder"] for side, blocks in epoch["probabilities"].items()
    }
    Path("logs/ckpts/arch/found.alphas.json").write_text(
        json.dumps({"epochs": {f"epoch{n}": epoch for n in range(500)}})
    )
    Path("genotypes/searched/vgd/found.json").write_text(json.dumps(epoch))
    names = ["train/loss", "train/lr", *(f"val/{n}" for n in range(20))]
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"epoch": e, **dict.fromkeys(names, 1.0 / (e + 1))}) + "\n" for e in range(1, 501))
    text = of_run(run_of(folder))
    assert len(text.encode()) < LARGEST
    assert text.count('class="chart heat"') == 30


def test_a_page_that_grew_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name fewer runs"):
        write("x" * (LARGEST + 1), tmp_path / "a.html")


def test_a_report_that_cannot_be_made_is_one_note() -> None:
    folder = tiny_run.search()
    assert leave(folder) == str(folder / NAME) and (folder / NAME).exists()
    (folder / "run.json").write_text("{")
    assert leave(folder).startswith("none: ")
    shutil.rmtree(folder)
    assert "make report RUN=found tries again" in leave(folder)


def test_the_command_writes_beside_the_log_or_for_several_into_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    tiny_run.search(go={**tiny_run.GO, "next": "next: make retrain GENO=found.json"})
    tiny_run.training()
    main(["--run=found"])
    main(["--run=logs/log/found,trained"])
    assert capsys.readouterr().out.splitlines() == [
        "report  logs/log/found/report.html",
        "next: make retrain GENO=found.json",
        "report  logs/report/found+trained.html",
        "next: make pareto TASK=vgd",
    ]
    main(["--run=found", "--out=own.html"])
    assert "make reproduce RUN=logs/log/found</code>" in Path("own.html").read_text()
    main([f"--run={Path('logs/log/found').resolve()}", "--out=again.html"])
    assert (
        Path("own.html").read_text() == Path("again.html").read_text() == Path("logs/log/found/report.html").read_text()
    )
    for wrong, said in (("--run=nothing", "there is no run 'nothing'"), ("--run=,", "names no run")):
        with pytest.raises(UserError, match=said):
            main([wrong])


@pytest.mark.parametrize(
    "values", [(0.0,), (3.0, 3.0), (-2.0, -2.0), (1e-7, 3e-7), (0.0, 1e9), (-5.0, 5.0), (99.9, 100)]
)
def test_a_scale_holds_its_values_between_its_outer_steps(values: tuple[float, ...]) -> None:
    found = charts.scale(values)
    assert found.low <= min(values) <= max(values) <= found.high and found.low < found.high
    assert found.ticks[0] == found.low and 2 <= len(found.ticks) <= 8
    drawn = charts.lines("a", [("b", Series("b", tuple(range(1, len(values) + 1)), tuple(map(float, values))))])
    assert "nan" not in drawn and drawn.count("<circle") == len(values)


def test_runs_beside_each_other_say_whether_to_believe_each() -> None:
    text = several(tiny_run.search("a"), tiny_run.training("c", 1))
    believed = text[text.index("Whether to believe it") : text.index("What was set otherwise")]
    assert "softmax(alpha) is" in believed and "beyond baselines on testA" in believed
    assert "one seed (0)" in believed and "one seed (1)" in believed
    assert "my data" in text[text.index("Everything that was run") : text.index("How to repeat it")]


def test_every_text_stands_out_from_what_is_behind_it_by_day_and_by_night() -> None:
    style = (TEMPLATES / "style.css").read_text()
    day, night = (dict(re.findall(r"--(\w+): #(\w{6})", part)) for part in style.split("@media (prefers", 1))
    assert day.keys() == night.keys() >= {"ink", "soft", "warn", "s0", "s5"}
    for colours in (day, night):
        for name in colours.keys() - {"paper", "tint", "rule"}:
            assert min(contrast(colours[name], colours[behind]) for behind in ("paper", "tint")) >= 4.5, name
    inks = [(figure.GREY, "FFFFFF"), *((figure.INK, colour) for colour in (*figure.COLOURS.values(), figure.OTHER))]
    assert min(contrast(one.strip("#"), other.strip("#")) for one, other in inks) >= 4.5


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2.2 defines it: 4.5 is the least for text."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    values = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return sum(share * value for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_several_runs_have_charts_with_the_headings_of_one_and_what_each_is_of() -> None:
    folder = tiny_run.search()
    lines = [{"epoch": epoch, "train/box_loss": 1.0} for epoch in (1, 2)]
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    text = several(folder, tiny_run.training())
    for heading in ("Training loss: loss", "Training loss: box loss", "Validation: accuracy", "Learning rate"):
        assert f"<h3>{heading}</h3>" in text
    assert "mean over an epoch&#39;s steps" in text and "train/loss" not in text


def test_a_study_says_its_recipe_key_by_key_and_a_single_network_is_its_own_mean() -> None:
    path = tiny_run.study()
    given = json.loads(path.read_text())
    given["recipe"]["search:space.encoder"] = {"blocks": 2, "candidates": ["a", "b"]}
    given["notes"] = ["ahead, behind: by the interval alone", "two searches"]
    path.write_text(json.dumps(given))
    (study,) = studies_of(Path("logs"), {"vgd"})
    text = of_study(study, [])
    assert "search:space.encoder.blocks" in text and "<code>a, b</code>" in text
    assert "two searches" in text and "by the interval alone" not in text
    assert text.count('class="mean"') == 2 and "by hand (1)</text>" in text


def test_marks_lie_where_their_numbers_are() -> None:
    drawn = charts.lines("a", [("b", Series("b", (1, 2, 3), (0.0, 10.0, 5.0)))])
    places = [tuple(map(float, one)) for one in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    (x1, y1), (x2, y2), (x3, y3) = places
    assert (x1, x3) == (charts.LEFT, charts.WIDTH - charts.RIGHT) and x2 == (x1 + x3) / 2
    assert (y1, y2) == (charts.HEIGHT - charts.BOTTOM, charts.TOP) and y3 == (y1 + y2) / 2
    block = run_of(tiny_run.search()).blocks[0]
    cells = re.findall(r'fill-opacity="([\d.]+)"', heat := charts.heat(block, charts.MOST_CELLS))
    assert [float(one) for one in cells] == pytest.approx([value for row in block.probabilities for value in row])
    (settled,) = re.findall(r'<line x1="([\d.]+)"[^>]*class="settled"', heat)
    assert float(settled) == charts.LABEL + charts.CELL * (block.settled - 1) / len(block.epochs)
    (swap, *_) = block.swaps
    one = charts.interval(swap, 0.1)
    span = re.search(r'x1="([\d.]+)" x2="([\d.]+)" y1="7"', one)
    (middle,) = re.findall(r'<circle cx="([\d.]+)"', one)
    assert float(span[1]) < float(middle) < float(span[2])
    bins = [outcome.Bin(30.0, 5, 80.0, 70.0, 90.0)]
    (x, y), *_ = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', plots.calibration(bins))
    assert float(x) < charts.WIDTH / 2 and float(y) < charts.HEIGHT / 2


def test_pictures_are_left_out_once_their_room_is_full() -> None:
    tiny_run.training()
    (shown, *_) = tiny_run.details().best
    album = plots.Album()
    album.room = album.sample(shown).index("preserveAspectRatio")  # more than one picture, less than two
    assert ["<image" in album.sample(shown) for _ in range(2)] == [True, False]
