import pytest
import torch

from audiogen.evaluation.material import Sounds
from audiogen.evaluation.recognition import confusion, recognition, right_share
from audiogen.judge.judge import Judge

RATE = 16_000


def test_right_answers_are_counted_per_label_and_over_all() -> None:
    rows = confusion(["a", "a", "a", "b"], ["a", "b", "b", "b"])
    assert rows == {"a": {"b": 2, "a": 1}, "b": {"b": 1}}
    assert right_share(rows) == 0.5
    assert right_share({"a": rows["a"]}) == pytest.approx(1 / 3)


def test_what_the_judge_names_is_told_of_every_kind_of_sound() -> None:
    time = torch.arange(RATE) / RATE
    hums = [torch.sin(2 * torch.pi * hz * time)[None] for hz in (100, 120, 140, 160)]
    noise = [torch.randn(1, RATE) for _ in range(4)]
    judge = Judge.fit([*hums, *noise], ["hum"] * 4 + ["rain"] * 4, RATE, num_versions=0)

    def sounds(wavs: list[torch.Tensor], labels: list[str]) -> Sounds:
        return Sounds(wavs=wavs, labels=labels, names=labels)

    real = sounds([hums[0], noise[0], hums[1]], ["hum", "rain", "a label it has not learnt"])
    takes = sounds([hums[2], noise[1], noise[2], noise[3]], ["hum", "hum", "hum", "rain"])
    found = recognition(judge, {"takes": takes, "real": real})
    assert found is not None
    assert (found.all.takes, found.all.real, found.all.reconstructions) == (0.5, 1.0, None)
    assert found.chance == 0.5
    assert found.per_label["hum"].takes == pytest.approx(1 / 3)
    assert found.confusion == {"hum": {"rain": 2, "hum": 1}, "rain": {"rain": 1}}
    assert recognition(judge, {"real": sounds(hums[:1], ["another"])}) is None
