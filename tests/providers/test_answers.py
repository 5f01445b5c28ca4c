"""Whatever a batch system writes, its jobs are read, or it has not answered.

Nothing else: an exception of another kind would end the provider's process.
"""

import json
from collections.abc import Mapping
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import (
    JobStatus,
    ProviderUnavailable,
    gridengine,
    htcondor,
    pbs,
    slurm,
    ssh_host,
)
from tests.damage import HUGE, damaged_text
from tests.providers.test_gridengine import QUEUE
from tests.providers.test_pbs import PRO, TORQUE

SQUEUE = "7|RUNNING|None\n\n8|PENDING|Priority\n"
SACCT = "7|FAILED|137:0\n8|CANCELLED by 1000|0:15\n"
SHOW_JOB = "JobId=12 JobState=FAILED Reason=None ExitCode=137:0\n"
QSTAT = QUEUE.format(running="r", pending="qw")
QACCT = "qname all.q\nfailed 37  : qmaster enforced h_rt\nexit_status 137 (Killed)\n"
QSTAT_F = PRO.format(state="F", more="    Exit_status = 271\n")
ADS = json.dumps(
    [
        {"ClusterId": 1, "JobStatus": 4, "ExitBySignal": True, "ExitSignal": 9},
        {"ClusterId": 2, "JobStatus": 3, "RemoveReason": "PeriodicRemove"},
        {"ClusterId": 3, "JobStatus": 5, "HoldReason": "held"},
        {"ClusterId": 4, "JobStatus": 4, "ExitCode": 1},
    ]
)
HOST = (
    "Welcome!\nactors:node a none\nactors:node b running\n"
    "actors:node c over 137 timeout aGVsbG8=\nactors:node d over - -\n"
    "actors:free 3\nactors:end\n"
)
# Few numbers and words that mean something, so that they meet.
any_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 6)
    | st.floats()
    | st.sampled_from(["", "9", "x", "PeriodicRemove"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["ClusterId", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
any_ads = st.lists(
    any_value
    | st.dictionaries(
        st.sampled_from(
            ["ClusterId", "JobStatus", "ExitCode", "ExitBySignal", "ExitSignal"]
        ),
        any_value,
    ),
    max_size=3,
)


def expect_statuses(statuses: Mapping[str, JobStatus]) -> None:
    for number, status in statuses.items():
        assert isinstance(number, str)
        assert isinstance(status, JobStatus)
        assert status.exit_code is None or isinstance(status.exit_code, int)


@given(text=damaged_text(SQUEUE, SACCT, SHOW_JOB) | st.text())
def test_any_text_of_slurm_is_read(text: str) -> None:
    expect_statuses(slurm.parse_queue(text))
    expect_statuses(slurm.parse_accounting(text))
    expect_statuses(slurm.parse_show_job(text))


@given(text=damaged_text(QSTAT) | st.text())
def test_any_queue_of_grid_engine_is_read_or_is_no_xml(text: str) -> None:
    try:
        found = list(gridengine.parse_queue(text))
    except ElementTree.ParseError:
        return
    expect_statuses({number: status for number, _, status in found})


@given(text=damaged_text(QACCT) | st.text())
def test_any_accounting_of_grid_engine_is_read(text: str) -> None:
    status = gridengine.parse_accounting(text)
    assert status is None or isinstance(status, JobStatus)


@pytest.mark.parametrize("dialect", ["pro", "torque"])
@given(text=damaged_text(QSTAT_F, TORQUE) | st.text())
def test_any_text_of_pbs_is_read(dialect: str, text: str) -> None:
    expect_statuses(pbs.parse_queue(text))
    expect_statuses(pbs.parse_ends(text, dialect))


@given(text=damaged_text(ADS) | any_ads.map(json.dumps) | st.text())
def test_any_text_of_htcondor_is_read_or_no_answer(text: str) -> None:
    for parse in (htcondor.parse_queue, htcondor.parse_ends):
        try:
            found = parse(text)
        except ProviderUnavailable:
            continue
        expect_statuses(found)


@pytest.mark.parametrize("text", ["7| |0:0", "7||", "|", f"7|FAILED|{HUGE}:0"])
def test_a_line_of_slurm_that_is_cut_is_no_trouble(text: str) -> None:
    expect_statuses(slurm.parse_accounting(text))
    expect_statuses(slurm.parse_queue(text))


@pytest.mark.parametrize("code", ["", "x", HUGE, "\u0663"])
def test_an_exit_code_of_grid_engine_that_is_none_is_not_known(code: str) -> None:
    status = gridengine.parse_accounting(f"failed 0\nexit_status {code}\n")
    assert status is not None
    assert status.exit_code is None or code == HUGE


def test_a_nested_answer_of_htcondor_is_none() -> None:
    with pytest.raises(ProviderUnavailable):
        htcondor.parse_queue("[" * 100_000)


@given(text=damaged_text(HOST) | st.text())
def test_any_answer_of_a_host_is_read_or_is_not_whole(text: str) -> None:
    answer = ssh_host.parse_answer(text)
    if answer is not None:
        assert isinstance(answer.free_slots, int)
        for report in answer.reports.values():
            assert report.exit_code is None or isinstance(report.exit_code, int)
