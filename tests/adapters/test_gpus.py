"""Leases of GPUs: who gets which device, and when."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake_executor_plugin_forkserver import gpus
from snakemake_executor_plugin_forkserver.leases import ClosedError, Leases
from snakemake_executor_plugin_forkserver.run import Run

used = st.lists(st.integers(0, gpus.WHOLE), max_size=6)
share = st.integers(1, gpus.WHOLE) | st.integers(2, 4).map(lambda count: count * gpus.WHOLE)
shares = st.lists(share, max_size=4)


@pytest.mark.parametrize(
    ("resources", "share"),
    [
        ({}, 0),
        ({"gpu_milli": 500, "gpu": 1}, 500),
        ({"gpu": 2}, 2000),
        ({"gpu_milli": 0, "gpu": 0}, 0),
        ({"gpu_milli": 1001}, 2000),
        ({"gpu": "a100", "gpu_milli": -5}, 0),
    ],
)
def test_what_a_job_asks_for(resources: dict[str, object], share: int) -> None:
    assert gpus.asked(resources) == share


@given(used, shares)
def test_no_device_is_given_twice_or_too_often(used: list[int], shares: list[int]) -> None:
    found = gpus.fit(used, shares)
    assert found == gpus.fit(used, shares)
    if found is None:
        return
    taken = list(used)
    for share, places in zip(shares, found, strict=True):
        assert len(set(places)) == len(places) == max(share // gpus.WHOLE, 1)
        assert list(places) == sorted(places)
        for place in places:
            taken[place] += min(share, gpus.WHOLE)
    assert all(each <= gpus.WHOLE for each in taken)


@given(used, share)
def test_one_job_gets_the_lowest_devices_and_waits_only_where_it_must(
    used: list[int], share: int
) -> None:
    part, count = min(share, gpus.WHOLE), max(share // gpus.WHOLE, 1)
    free = [place for place, taken in enumerate(used) if taken + part <= gpus.WHOLE]
    expected = [tuple(free[:count])] if len(free) >= count else None
    assert gpus.fit(used, [share]) == expected


@given(
    st.integers(1, 3), st.lists(st.lists(st.integers(1, 1000), min_size=1, max_size=2), max_size=12)
)
def test_everybody_gets_a_turn_in_the_order_of_asking(count: int, asked: list[list[int]]) -> None:
    leases = Leases([str(number) for number in range(count)])
    running: list[int] = []
    expected = []
    for number, group in enumerate(asked):
        jobs = {10 * number + place: share for place, share in enumerate(group)}
        if leases.ask(jobs) is None:
            expected += list(jobs)
    for job in expected:
        while job not in leases._granted:  # only those that have asked before it are in its way
            with leases.held(running.pop(0)):
                pass
        running.append(job)
        assert all(taken <= gpus.WHOLE for taken in leases._used)
    while running:
        with leases.held(running.pop(0)):
            pass
    assert leases._used == [0] * count


def test_a_job_waits_for_its_device_and_is_not_overtaken() -> None:
    leases = Leases(["0"])
    assert leases.ask({1: 500}) is None
    assert leases.ask({2: 1000}) is None
    assert (
        leases.ask({3: 500}) is None
    )  # would fit beside the first, and has to wait for the second
    had: list[int] = []

    def run(job: int) -> None:
        with leases.held(job):
            had.append(job)

    threads = [threading.Thread(target=run, args=(job,)) for job in (3, 2)]
    with leases.held(1) as devices:
        assert devices == ["0"]
        for thread in threads:
            thread.start()
        threads[0].join(0.2)
        assert had == []
    for thread in threads:
        thread.join(5)
    assert had == [2, 3]


def test_who_waits_when_the_run_ends_does_not_begin() -> None:
    leases = Leases(["0"])
    leases.ask({1: 1000})
    leases.ask({2: 1000})
    leases.close()
    with pytest.raises(ClosedError), leases.held(2):
        pass


@pytest.mark.parametrize(
    ("shares", "devices", "told"),
    [
        ([1000], ["0"], None),
        ([500], [], "it asks for 0.5 GPU, and there is none"),
        ([2000], ["3"], "it asks for 2 GPUs, and there is only 3"),
        ([500, 2000], ["0", "1"], "it asks for 0.5 + 2 GPUs, and there are only 0, 1"),
    ],
)
def test_more_than_there_is_is_said(
    shares: list[int], devices: list[str], told: str | None
) -> None:
    assert gpus.lacking(shares, devices) == told


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("0,1", ("0", "1")),
        (" 2 , GPU-5f", ("2", "GPU-5f")),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        ("1,1", ("1",)),
        ("NoDevFiles", ()),
    ],
)
def test_a_list_is_read_as_cuda_reads_it(text: str, devices: tuple[str, ...]) -> None:
    assert gpus.listed(text) == devices
    assert gpus.devices("", {"CUDA_VISIBLE_DEVICES": text}) == devices


def test_which_devices_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    driver = tmp_path / "nvidia-smi"
    driver.write_text(
        '#!/bin/sh\ntest "$1" = -L || exit 1\n'
        "echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5fe1)'\n"
        "echo '  MIG 1g.10gb     Device  0: (UUID: MIG-5a2b)'\n"
        "echo 'GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-9be0)'\n"
    )
    driver.chmod(0o755)
    assert gpus.devices("", {}) == ("0", "1")
    assert gpus.devices("1", {"CUDA_VISIBLE_DEVICES": "0"}) == ("1",)
    driver.write_text("#!/bin/sh\necho 'GPU 0: broken'\nexit 9\n")
    assert gpus.devices("", {}) == ()
    monkeypatch.setattr(gpus, "DRIVER", ("no-such-program", "-L"))
    assert gpus.devices("", {}) == ()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setenv("ML_EXPERIMENT_RUN", "")  # as it was, when the test is over
    run = Run(str(tmp_path))
    yield run
    run.end(kill=False)


def test_a_shell_has_its_devices_and_is_what_it_was(run: Run) -> None:
    shell = run.shell("MIG-GPU-5f/1/0,7", "bash")
    assert shell is not None
    assert shell == run.shell("MIG-GPU-5f/1/0,7", "bash") != run.shell("7", "bash")
    assert Path(shell).name == "bash"
    words = 'echo "$CUDA_VISIBLE_DEVICES" "${BASH_VERSION:0:1}" "$1"; exit 3'
    done = subprocess.run(
        ["-", "-c", words, "", "a  b"],
        executable=shell,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.split(" ", 2)[::2] == ["MIG-GPU-5f/1/0,7", "a  b\n"]


def test_without_a_program_that_can_be_run_there_is_no_such_shell(run: Run) -> None:
    assert run.shell("0", "no-such-shell") is None
    run._shell.chmod(0o600)  # as on a file system from which nothing is run
    assert run.shell("0", "bash") is None
