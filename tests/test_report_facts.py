"""The facts of a report are those of the files; damaged and missing files are told from each other."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import tiny_run

from common.errors import UserError
from common.lock import held
from outcome.details import Bin, Row
from report.belief import reasons
from report.checklist import NOT, PART, YES, fill_in
from report.comparison import compare
from report.curves import groups, guessing, kinds
from report.facts import Score, run_of
from report.studies import studies_of, study_of
from report.summary import beyond, numbers, setup, setup_of


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_facts_of_a_search_are_those_of_its_files() -> None:
    run = run_of(tiny_run.search())
    assert (run.stage, run.state, run.task, run.objective) == ("search", "done", "vgd", "accuracy")
    records = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    for name, series in run.series.items():
        assert list(zip(series.epochs, series.values, strict=True)) == [
            (record["epoch"], record[name]) for record in records if name in record
        ]
    genotype = json.loads(Path("genotypes/searched/vgd/found.json").read_text())
    assert list(run.genotype.decoder) == genotype["decoder"] and run.cost == genotype["cost"]
    assert run.scores == (Score("val", "accuracy", 78.125, 12.5),)
    assert genotype["supernet"] == run.standing
    assert run.seconds == tiny_run.GO["seconds"] and run.samples == tiny_run.GO["samples"]
    assert run.command[-1] == "'--data.root=my data'"


def test_what_a_search_came_out_with_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its copy beside the log; of older searches the file named from the folder in which they were typed."""
    folder = tiny_run.search().resolve()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_of(folder).genotype.decoder == tuple(tiny_run.SEARCHED["decoder"]) and not run_of(folder).warnings
    (tmp_path / "genotypes/searched/vgd/found.json").rename(folder / "genotype.json")
    assert run_of(folder).genotype.decoder == tuple(tiny_run.SEARCHED["decoder"]) and not run_of(folder).warnings


def test_a_pick_that_is_gone_is_not_passed_off_as_the_most_probable_path() -> None:
    folder = tiny_run.search()
    Path("genotypes/searched/vgd/found.json").unlink()
    assert "the most probable operations of its last epoch" in run_of(folder).warnings[-1]


def test_blocks_have_the_probabilities_of_every_epoch_and_settle_where_their_argmax_last_changed() -> None:
    encoder, first, second = run_of(tiny_run.search()).blocks
    epochs = json.loads(Path("logs/ckpts/arch/found.alphas.json").read_text())["epochs"]
    for place, candidate in enumerate(first.candidates):
        said = [epoch["probabilities"]["decoder"][0][candidate] for epoch in epochs.values()]
        assert list(first.probabilities[place]) == said
    # The first epoch has no architecture step behind it. Argmax: ff after 2, sa after 3, ff after 4.
    assert (encoder.settled, first.settled, second.settled) == (4, 2, 2)
    assert (encoder.picked, encoder.most_probable) == ("feed_forward", "feed_forward")
    assert encoder.probability == pytest.approx(0.7)
    assert [swap.operation for swap in first.swaps] == ["self_att_64", "feed_forward"]


def test_the_scores_of_a_training_are_those_of_its_file_and_scoring_again_adds_to_them() -> None:
    folder = tiny_run.training()
    beside = tiny_run.details().beside
    assert run_of(folder).scores == (
        Score("testA", "accuracy", 81.5, 11.0, beside["accuracy"]),
        Score("testA", "how many", 33.25, None, beside["how many"]),
        Score("testB", "accuracy", 70.0625, None),
    )
    assert run_of(folder).scores[0].baselines == {"guessing": 11.0, "words alone": 50.0}
    assert [one.as_dict() for one in run_of(folder).details] == [tiny_run.details().as_dict()]
    again = json.loads(Path("logs/ckpts/result_test/metrics_trained.json").read_text())
    again |= {"metrics": {"val": {"accuracy": 80.5}}, "chance": {}}
    Path("logs/ckpts/result_test/metrics_trained_val.json").write_text(json.dumps(again))
    assert run_of(folder).scores[-1] == Score("val", "accuracy", 80.5, None)
    assert run_of(folder).notes == ("a remark", "testA: 30 phrases")  # which both files have
    best = next(one for one in numbers(run_of(folder)) if one.name.startswith("best epoch"))
    assert best.value == 3 and "80.50" in best.beside


def test_seconds_of_all_goes_count() -> None:
    folder = tiny_run.training()
    (folder / "run.json").write_text(json.dumps([tiny_run.GO, tiny_run.GO]))
    assert run_of(folder).seconds == {name: 2 * value for name, value in tiny_run.GO["seconds"].items()}


def test_a_run_that_left_nothing_but_numbers_is_told_as_far_as_they_go() -> None:
    folder = tiny_run.training()
    for path in (folder / "run.json", folder / "config.yaml", *Path("logs/ckpts/result_test").glob("*_trained.json")):
        path.unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "val/accuracy": NaN}\n[1]\n{"epoch": "x"}\n{"epoch": 5, "val/accu')
    run = run_of(folder)
    assert run.scores == (Score("testA", "accuracy", 81.5, None),)
    assert run.series["val/accuracy"].values == (70.0, 75.0, 80.5, 79.0)
    assert run.genotype is None and not run.command and run.objective == "accuracy"


def test_a_run_is_running_while_it_is_held_and_stopped_after() -> None:
    # Its network was scored before its end, which is not the end of it.
    folder = tiny_run.training(go={key: value for key, value in tiny_run.GO.items() if key != "next"})
    with held(folder / ".lock", "it", "wait", print):
        assert run_of(folder).state == "running"
    assert run_of(folder).state == "stopped"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("logs/log/found/run.json", "{}"),
        ("logs/log/found/run.json", "[1]"),
        ("logs/log/found/config.yaml", "- 1"),
        ("logs/ckpts/arch/found.alphas.json", "{}"),
        ("logs/ckpts/arch/found.alphas.json", '{"epochs": {"epoch0": {"encoder": 3, "decoder": []}}}'),
        ("genotypes/searched/vgd/found.json", "{"),
        ("logs/ckpts/result_test/metrics_found.json", "[]"),
    ],
)
def test_what_is_damaged_is_named(name: str, text: str) -> None:
    folder = tiny_run.search()
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
    with pytest.raises(UserError):
        run_of(folder)


def test_only_differences_are_compared_and_differing_blocks_are_marked() -> None:
    runs = [run_of(tiny_run.search("a")), run_of(tiny_run.search("b", width=128)), run_of(tiny_run.training("c", 1))]
    compared = compare(runs)
    rows = {row.key: row.values for row in compared.settings}
    assert rows["search.width"] == (64, 128, None) and rows["seed"] == (0, 0, 1)
    assert not {"version", "task", "search.epochs", "retrain.epochs"} & set(rows)
    assert not any(place.differs for place in compared.places)
    scores = {(row.split, row.metric): [score and score.value for score in row.scores] for row in compared.scores}
    assert scores["val", "accuracy"] == [78.125, 78.125, None] and scores["testA", "accuracy"] == [None, None, 81.5]
    genotype = Path("genotypes/searched/vgd/b.json")
    genotype.write_text(genotype.read_text().replace('"decoder": [\n    "guided_att_64"', '"decoder": [\n    "gelu"'))
    differing = [place for place in compare([runs[0], run_of(Path("logs/log/b"))]).places if place.differs]
    assert [(place.side, place.number, place.operations) for place in differing] == [
        ("decoder", 1, ("guided_att_64", "gelu"))
    ]


def test_the_checklist_says_what_is_not_done() -> None:
    tiny_run.study()
    found, trained = run_of(tiny_run.search()), run_of(tiny_run.training())
    alone = {item.question: item.answer for item in fill_in([found], [])}
    assert len(alone) == 16
    assert alone["comparison with random search"] == NOT and alone["ablation studies"] == NOT
    assert alone["hyperparameters and seeds of the final training"] == NOT
    studies = studies_of(Path("logs"), {"vgd"})
    together = {item.question: (item.answer, item.because) for item in fill_in([found, trained], studies)}
    assert together["comparison with random search"] == (YES, "study vgd: better: searched networks are better")
    tiny_run.study(width=128)  # a recipe that no run here was made under
    other = {item.question: item.answer for item in fill_in([found, trained], studies_of(Path("logs"), {"vgd"}))}
    assert other["comparison with random search"] == NOT
    assert together["time of the whole method, end to end"][0] == YES
    assert together["tabular or surrogate benchmarks"][0] == NOT
    assert together["performance over time"][0] == PART


def test_a_study_is_read_as_it_was_written_and_one_of_another_task_stays_out() -> None:
    path = tiny_run.study()
    (one,) = studies_of(Path("logs"), {"vgd"})
    assert one.groups[1].values == {"random 0": 76.0, "random 1": 77.5, "random 2": 74.0}
    assert one.groups[2].low is None and one.best_of == (3, 77.25)
    assert studies_of(Path("logs"), {"itm"}) == []
    path.write_text("{}")
    with pytest.raises(UserError, match="no result of a study"):
        studies_of(Path("logs"), {"vgd"})


def test_reasons_say_what_speaks_for_a_run_and_against_it() -> None:
    search = {fact.name: fact.text for fact in reasons(run_of(tiny_run.search()))}
    assert search["moved"].startswith("yes: softmax(alpha) is 0.4 away")
    assert search["settled"].startswith("2 of 3 blocks") and search["settled"].endswith("since epoch 2 or earlier")
    assert search["collapsed"].startswith("no side") and search["better than chance"].startswith("yes")
    go = {**tiny_run.GO, "warnings": ["warning: alpha of the decoder may have collapsed: so it is"]}
    collapsed = {fact.name: fact.text for fact in reasons(run_of(tiny_run.search("c", go)))}
    assert collapsed["collapsed"] == "alpha of the decoder may have collapsed: so it is"
    trained = {fact.name: fact.text for fact in reasons(run_of(tiny_run.training()))}
    assert trained["beyond baselines on testA"].startswith("not shown, as the interval holds it: accuracy 81.50 (")
    assert "no other split" in trained["chosen by"] and "beyond baselines on testB" not in trained
    path = Path("logs/ckpts/result_test/details_trained.json")
    for value, verdict in (("40.0", "yes: "), ("99.0", "no: ")):
        path.write_text(re.sub('"words alone": [0-9.]+', f'"words alone": {value}', path.read_text()))
        again = {fact.name: fact.text for fact in reasons(run_of(Path("logs/log/trained")))}
        assert again["beyond baselines on testA"].startswith(verdict)


def test_trainings_that_differ_in_their_architecture_alone_are_said_to() -> None:
    one, other = (run_of(tiny_run.training(version)) for version in ("a", "b"))
    for folder, name in ((one.folder, "x.json"), (other.folder, "y.json")):
        with (folder / "config.yaml").open("a") as file:
            file.write(f"geno: {name}\n")
    both = [run_of(one.folder), run_of(other.folder)]
    said = {item.question: (item.answer, item.because) for item in fill_in(both, [])}
    assert said["ablation studies"] == (PART, "these runs differ in their architecture alone")
    alike = said["the same data, splits, space and training for all that is compared"]
    assert alike == (YES, "the configurations are alike but for seeds and architectures")
    assert said["time of the whole method, end to end"] == (PART, "0.01 hours, trainings alone")


def test_a_split_that_was_scored_once_chose_nothing() -> None:
    folder = tiny_run.training()
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if k != "val/accuracy" or line["epoch"] == 4} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    run = run_of(folder)
    assert "val was scored once" in {one.name: one.text for one in reasons(run)}["chosen by"]
    assert not any(one.name.startswith("best epoch") for one in numbers(run))


def test_a_command_to_repeat_begins_anew() -> None:
    go = {**tiny_run.GO, "command": ["python", "-m", "search", "--resume=true", "--seed=1"]}
    assert run_of(tiny_run.search(go=go)).command == ("python", "-m", "search", "--seed=1")


def test_kinds_are_told_from_the_epoch_in_which_alpha_moved_or_was_led() -> None:
    folder = tiny_run.search()
    path, first = folder / "metrics.jsonl", '{"epoch": 1, "search/alpha_total_variation": 0.0}\n'
    assert kinds(run_of(folder))["decoder"]["gate"].epochs[0] == 1
    path.write_text(path.read_text() + first)
    assert kinds(run_of(folder))["decoder"]["gate"].epochs[0] == 2
    still = [first.replace("1", str(epoch), 1) for epoch in range(1, tiny_run.EPOCHS + 1)]
    path.write_text(path.read_text() + "".join(still))
    assert kinds(run_of(folder)) == {}
    led = tiny_run.search("led", start="mcan")
    (led / "metrics.jsonl").write_text(path.read_text())
    assert kinds(run_of(led))["decoder"]["gate"].epochs[0] == 1


def test_a_study_says_what_its_runs_ran_on_and_what_is_scored_without_a_network() -> None:
    study = study_of(tiny_run.study())
    runs = [run_of(tiny_run.search()), run_of(tiny_run.training())]
    said = dict(setup_of(runs))
    assert said["hardware"] == "processor abacus, cores 2" and said["data"] == "my data"
    other = dataclasses.replace(runs[0], settings={**runs[0].settings, "data.root": "other"})
    assert dict(setup_of([*runs, runs[0], other]))["data"] == "search: my data (otherwise in 1 of 3 runs)"
    assert beyond(study, runs) == []  # of testB nothing is known
    for chance, said in ((11.75, "yes, the means of all groups"), (77.0, "no: these groups are not above it: random")):
        guessed = tuple(dataclasses.replace(score, chance=chance) for score in runs[1].scores)
        ((name, text),) = beyond(study, [dataclasses.replace(runs[1], scores=guessed)])
        assert name == "beyond guessing" and text.startswith(said)
    assert beyond(study, []) == setup_of([]) == []


def test_a_network_of_two_groups_stands_once_on_a_study() -> None:
    study = study_of(tiny_run.study())
    again = (*study.networks, dataclasses.replace(study.networks[0], name="matched"))
    names = [name for name, _ in dataclasses.replace(study, networks=again).once]
    assert names == ["searched 0; matched", *(one.name for one in study.networks[1:])]


def test_reasons_say_who_picked_how_sure_a_network_was_and_where_a_baseline_is_better() -> None:
    names = {"selector exact": "The architecture with the lowest loss."}
    folder = tiny_run.search(go={**tiny_run.GO, "names": names})
    said = {one.name: one.text for one in reasons(run_of(folder))}
    assert said["picked by"] == "exact: The architecture with the lowest loss."
    run = run_of(tiny_run.training())
    (told, *_) = run.details
    bins = [Bin(80.0, 3, 50.0, 0.0, 0.0), Bin(40.0, 1, 30.0, 0.0, 0.0)]
    rows = [
        Row("far", 5, 20.0, 0.0, 0.0, {"guessing": 10.0, "words alone": 50.0}),
        Row("near", 7, 60.0, 0.0, 0.0, {"guessing": 65.0}),
        Row("above", 9, 60.0, 0.0, 0.0, {"guessing": 55.0}),
        Row("alone", 9, 60.0, 0.0, 0.0, {}),
    ]
    told = dataclasses.replace(told, calibration=bins, calibration_error=25.0, groups={"place": rows})
    said = {one.name: one.text for one in reasons(dataclasses.replace(run, details=(told,)))}
    assert said["calibration on testA"].endswith("on average: too sure, with 70.00 where 45.00 is right")
    assert said["kinds below a baseline on testA"] == (
        "2: far (place, 5 samples): 20.00, words alone 50.00; near (place, 7 samples): 60.00, guessing 65.00"
    )


def test_what_was_chosen_by_a_loss_is_not_believed_for_it() -> None:
    folder = tiny_run.search()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": tiny_run.EPOCHS, "picked/argmax_percentile": 40.0}) + "\n")
    said = {one.name: one.text for one in reasons(run_of(folder))}["better than chance"]
    assert said == (
        "yes: by the supernet's loss 40 % of random architectures are better than the most probable path; than the "
        "pick 3 %, which was chosen by losses"
    )


def said_of(*folders: Path) -> dict[str, tuple[str, str]]:
    """The checklist's answers on some runs."""
    return {item.question: (item.answer, item.because) for item in fill_in([run_of(one) for one in folders], [])}


def test_a_pick_that_random_ones_beat_and_a_validation_split_that_chose_are_not_praised() -> None:
    folder = tiny_run.search()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": tiny_run.EPOCHS, "picked/percentile": 50.0}) + "\n")
    assert {one.name: one.text for one in reasons(run_of(folder))}["better than chance"].startswith("no: ")
    trained = run_of(tiny_run.training(metrics={"val": {"accuracy": 80.5}}))
    assert "too high by what choosing gains" in {one.name: one.text for one in reasons(trained)}["chosen by"]


def test_runs_that_differ_in_one_setting_are_part_of_an_ablation_and_other_data_are_no_comparison() -> None:
    first, wider = tiny_run.search("a"), tiny_run.search("b", width=128)
    same = "the same data, splits, space and training for all that is compared"
    assert said_of(first, wider)["ablation studies"] == (PART, "these runs differ in search.width alone")
    assert said_of(first, wider)[same] == (PART, "they differ in search.width")
    elsewhere = tiny_run.search("c", go={**tiny_run.GO, "data": {"features": "bad"}})
    assert said_of(first, elsewhere)[same] == (NOT, "the runs saw different data")
    both = "hyperparameters and seeds of the search"
    assert said_of(first, wider)[both] == (YES, "config.yaml beside each run; seed 0")


def test_of_several_scores_the_highest_counts_but_of_ranks_none() -> None:
    metrics = [{"test": {"rsum": value, "i2t_median": 9.0 - value, "t2i_mean": 3.0}} for value in (5.0, 7.0)]
    runs = [run_of(tiny_run.training(name, metrics=one)) for name, one in zip("ab", metrics, strict=True)]
    assert {row.metric: row.best for row in compare(runs).scores} == {"rsum": 7.0, "i2t_median": None, "t2i_mean": None}


def test_breaches_that_were_allowed_and_how_often_a_run_went_on_are_told() -> None:
    folder = tiny_run.search(go={**tiny_run.GO})
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 1, "leaks": 2}) + "\n")
    assert run_of(folder).leaks == 2
    for times, words in ((2, "once"), (3, "2 times")):
        (folder / "run.json").write_text(json.dumps([tiny_run.GO] * times))
        assert dict(setup(run_of(folder)))["gone on with"] == words
    assert dict(setup(run_of(folder)))["space"].startswith("18 architectures; encoder: 1 block of self_att_64")


def test_validation_is_held_against_guessing_and_nothing_else_is() -> None:
    run = run_of(tiny_run.search())
    held_against = {group.names: guessing(run, group) for group in groups([run])}
    assert held_against.pop(("val/accuracy",)) == ("guessing", 12.5)
    assert set(held_against.values()) == {None}


def test_the_mean_of_a_network_is_over_its_training_seeds() -> None:
    network = dataclasses.replace(study_of(tiny_run.study()).networks[0], scores=(70.0, 80.0))
    assert network.mean == 75.0
