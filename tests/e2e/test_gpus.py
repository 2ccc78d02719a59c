"""The forkserver executor gives GPUs to jobs, here devices that nobody has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.project import Make

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

# Each job says when it has begun on which device, and when it is about to end.
TOLD = "echo {wildcards.job} {resources.gpu_milli} begins $CUDA_VISIBLE_DEVICES >> log"
SNAKEFILE = f"""\
rule all:
    input: expand("half{{job}}.txt", job=[1, 2, 3, 4]), expand("most{{job}}.txt", job=[1, 2, 3]), "whole1.txt"

rule half:
    output: "half{{job}}.txt"
    resources: gpu_milli=500, gpu=1
    shell: "{TOLD}; sleep 0.3; echo {{wildcards.job}} {{resources.gpu_milli}} ends $CUDA_VISIBLE_DEVICES >> log; touch {{output}}"

use rule half as most with:
    output: "most{{job}}.txt"
    resources: gpu_milli=700

use rule half as whole with:
    output: "whole{{job}}.txt"
    resources: gpu_milli=1000
"""
WAITS = "echo $CUDA_VISIBLE_DEVICES > {output}; until test -e {wait}; do sleep 0.05; done"
TOGETHER = f"""\
rule all:
    input: "one", "two", "three"

rule one:
    output: "one"
    resources: gpu_milli=500
    shell: "{WAITS.format(output="{output}", wait="three")}"

rule two:
    output: "two"
    resources: gpu_milli=500
    shell: "{WAITS.format(output="{output}", wait="three")}"

rule three:
    output: "three"
    resources: gpu=1
    shell: "until test -s one -a -s two; do sleep 0.05; done; echo $CUDA_VISIBLE_DEVICES > {{output}}"
"""
EVERY = """\
rule all:
    input: "shell", "script", "run", "shadow", "bench", "sh", "read", "none"

rule shell:
    output: "shell"
    resources: gpu=2
    shell: "echo $CUDA_VISIBLE_DEVICES > {output}; false | true || echo strict >> {output}"

rule script:
    output: "script"
    resources: gpu=1
    script: "device.py"

rule run:
    output: "run"
    resources: gpu=1
    run:
        import os
        open(output[0], "w").write(os.environ["CUDA_VISIBLE_DEVICES"] + "\\n")

rule shadow:
    output: "shadow"
    shadow: "minimal"
    resources: gpu=1
    shell: "echo $CUDA_VISIBLE_DEVICES > {output}"

rule bench:
    output: "bench"
    benchmark: "bench.tsv"
    resources: gpu=1
    shell: "echo $CUDA_VISIBLE_DEVICES > {output}"

rule sh:
    output: "sh"
    resources: gpu=1, shell_exec="sh"
    shell: "echo $CUDA_VISIBLE_DEVICES${{BASH_VERSION:+ bash}} > {output}"

rule write:
    output: pipe("piped")
    resources: gpu_milli=600
    shell: "echo $CUDA_VISIBLE_DEVICES > {output}"

rule read:
    input: "piped"
    output: "read"
    resources: gpu_milli=600
    shell: "cat {input} > {output}; echo $CUDA_VISIBLE_DEVICES >> {output}"

rule none:
    output: "none"
    shell: "echo ${{CUDA_VISIBLE_DEVICES-unset}} > {output}"
"""


def run(folder: Path, text: str, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (folder / "Snakefile").write_text(text)
    given = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-e", "forkserver", *words],
        cwd=folder, env={**given, **environ}, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


def test_never_more_than_there_is_on_one_device(tmp_path: Path) -> None:
    done = run(tmp_path, SNAKEFILE, "--cores", "6", "--forkserver-gpus", "0,1")
    assert done.returncode == 0, done.stderr
    taken = {"0": 0, "1": 0}
    most = 0
    for line in (tmp_path / "log").read_text().splitlines():
        _, share, what, device = line.split()
        taken[device] += int(share) if what == "begins" else -int(share)
        assert taken[device] <= 1000
        most = max(most, sum(taken.values()))
    assert most >= 1500  # the devices are used
    assert set(taken.values()) == {0}


def test_halves_share_a_device_and_a_whole_job_takes_the_other(tmp_path: Path) -> None:
    """None of the three ends before all have begun."""
    done = run(tmp_path, TOGETHER, "--cores", "3", CUDA_VISIBLE_DEVICES="4,GPU-77")
    assert done.returncode == 0, done.stderr
    one, two, three = [(tmp_path / name).read_text().strip() for name in ("one", "two", "three")]
    assert one == two  # the order in which jobs of one round begin is Snakemake's
    assert {one, three} == {"4", "GPU-77"}


def test_every_kind_of_job_sees_its_devices(tmp_path: Path) -> None:
    (tmp_path / "device.py").write_text(
        "import os\nopen(snakemake.output[0], 'w').write(os.environ['CUDA_VISIBLE_DEVICES'] + '\\n')\n"
    )
    done = run(tmp_path, EVERY, "--cores", "2", "--forkserver-gpus", "5,6")
    assert done.returncode == 0, done.stderr
    names = ("shell", "script", "run", "shadow", "bench", "sh", "read", "none")
    found = {name: (tmp_path / name).read_text().split() for name in names}
    assert found.pop("shell") == ["5,6", "strict"]
    assert found.pop("none") == ["unset"]
    assert found.pop("read") == ["5", "6"]
    assert set(map(tuple, found.values())) <= {("5",), ("6",)}
    assert (tmp_path / "bench.tsv").exists()


def test_a_job_that_asks_for_more_than_there_is_fails_at_once(make: Make) -> None:
    project = make(
        "name: x\nsteps:\n  a: {run: 'touch {outputs.o}', gpus: 3, outputs: {o: o}}\n"
        "  b: {run: 'touch {outputs.o}', outputs: {o: o}}\n"
    )
    done = project.snakemake("-e", "forkserver", "--forkserver-gpus", "0,1", "--keep-going")
    assert done.returncode == 1
    _, _, card = done.stderr.partition("failed: a\n")
    assert "│ it asks for 3 GPUs, and there are only 0, 1\n" in card
    assert (project.folder / "results/b/o").exists()


def test_a_step_has_the_share_that_it_declares_and_warm_programs_see_it(make: Make) -> None:
    project = make(
        "name: x\nsteps:\n  a:\n    run: python a.py {metrics}\n    gpus: 0.5\n    replicates: 3\n"
        "    metrics: m.json\n",
        a_py="import json, os, sys, numpy\njson.dump({'device': int(os.environ['CUDA_VISIBLE_DEVICES']),"
        "'warm': os.getpgrp() == os.getpid()}, open(sys.argv[1], 'w'))\n",
    )
    done = project.call("snakemake", "--cores", "1", "-e", "forkserver", "--forkserver-gpus", "7")
    assert done.returncode == 0, done.stderr
    found = [project.json(f"results/a/seed-{number}/m.json") for number in range(3)]
    assert [each["device"] for each in found] == [7, 7, 7]
    assert sum(each["warm"] for each in found) == 2


def test_what_waits_for_a_gpu_ends_with_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    input: 'a1', 'a2'\nrule a:\n    output: 'a{n}'\n    resources: gpu=1\n"
        "    shell: 'touch begun{wildcards.n}; sleep 100; touch {output}'\n"
    )
    words = ("--cores", "2", "-e", "forkserver", "--forkserver-gpus", "0")
    running = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *words],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(tmp_path.glob("begun*")) and time.monotonic() < until:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=30)
    assert running.returncode != 0
    assert "Traceback" not in told
    assert len(list(tmp_path.glob("begun*"))) == 1
