"""What operations take, measured, and the table that a latency budget reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import UserError
from search.prices import LatencyTable, prices_of, table_path
from tools import profile
from tools.profile import main, read_config

FEW = ["--task=itm", "--profile=demo", "--gpu=cpu", "--search.width=64"]
SMALL = [*FEW, "--data.max_regions=5", "--data.max_tokens=4"]
SPACE = [
    *("--space.encoder.blocks=1", "--space.decoder.blocks=2", "--space.encoder.candidates=[self_att_64,feed_forward]"),
    "--space.decoder.candidates=[rel_self_att_64,guided_att_64,relu,feed_forward_32]",
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(profile, "ROUNDS", 5)


def test_a_space_is_measured_and_a_budget_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, *SPACE])
    said = capsys.readouterr().out
    table = json.loads(Path("logs/profile/itm.json").read_text())
    assert table["sizes"] == {"width": 64, "head_scale": 1, "relation_width": 64, "regions": 5, "tokens": 4}
    assert table["measured"]["samples"] == 16 and table["measured"]["threads"] >= 1
    assert "table   logs/profile/itm.json" in said and "feed_forward_32" in said
    found = prices_of("latency", read_config([*SMALL, *SPACE]))
    assert list(found.encoder) == ["self_att_64", "feed_forward"] and found.relations >= 0
    assert all(ms > 0 for ms in (*found.encoder.values(), *found.decoder.values()))
    assert found.decoder["feed_forward_32"] > 2 * found.decoder["relu"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--search.width=128"], "is of width 64, and this search of 128; make profile TASK=itm PROFILE=demo"),
        (["--data.max_regions=6"], "is of regions 5, and this search of 6"),
        (["--space.decoder.candidates=[relu,gelu]"], "has no latency of gelu in the decoder; make profile TASK=itm"),
    ],
)
def test_a_table_of_another_space_is_refused(more: list[str], said: str) -> None:
    config = read_config([*SMALL, *SPACE])
    sizes = {"width": 64, "head_scale": 1, "relation_width": 64, "regions": 5, "tokens": 4}
    priced = dict.fromkeys(["self_att_64", "feed_forward"], 1.0), dict.fromkeys(["relu", "guided_att_64"], 1.0)
    LatencyTable("itm", sizes, *priced, 0.5, {}).save(table_path(config))
    with pytest.raises(UserError, match=said):
        prices_of("latency", read_config([*SMALL, *SPACE, *more]))


@pytest.mark.parametrize("content", ["[]", '{"task": "itm"}', "{"])
def test_another_file_is_refused(content: str) -> None:
    config = read_config([*SMALL, *SPACE])
    path = table_path(config)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match="table of latencies"):
        prices_of("latency", config)
