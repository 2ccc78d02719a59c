"""The workflow of Snakemake's tutorial (basics, steps 1 to 5) with its real tools, tracked as it is."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.e2e.project import Project
from tests.e2e.test_tracking import job_runs

SNAKEFILE = """\
SAMPLES = ["A", "B"]


rule bcftools_call:
    input:
        fa="data/genome.fa",
        bam=expand("sorted_reads/{sample}.bam", sample=SAMPLES),
        bai=expand("sorted_reads/{sample}.bam.bai", sample=SAMPLES)
    output:
        "calls/all.vcf"
    shell:
        "bcftools mpileup -f {input.fa} {input.bam} | "
        "bcftools call -mv - > {output}"


rule bwa_map:
    input:
        "data/genome.fa",
        "data/samples/{sample}.fastq"
    output:
        "mapped_reads/{sample}.bam"
    shell:
        "bwa mem {input} | samtools view -Sb - > {output}"


rule samtools_sort:
    input:
        "mapped_reads/{sample}.bam"
    output:
        "sorted_reads/{sample}.bam"
    shell:
        "samtools sort -T sorted_reads/{wildcards.sample} "
        "-O bam {input} > {output}"


rule samtools_index:
    input:
        "sorted_reads/{sample}.bam"
    output:
        "sorted_reads/{sample}.bam.bai"
    shell:
        "samtools index {input}"
"""


def write_data(project: Project) -> None:
    """A genome of 5,000 bases, and reads of two samples that differ from it in places."""
    draw = random.Random(1)
    genome = "".join(draw.choices("ACGT", k=5_000))
    project.write("data/genome.fa", f">I\n{genome}\n")
    for sample in "AB":
        other = "".join(draw.choice("ACGT") if draw.random() < 0.005 else b for b in genome)
        starts = [draw.randrange(len(genome) - 100) for _ in range(1_500)]
        reads = (
            f"@{sample}{n}\n{other[s : s + 100]}\n+\n{'I' * 100}\n" for n, s in enumerate(starts)
        )
        project.write(f"data/samples/{sample}.fastq", "".join(reads))


@pytest.mark.engine("bwa", "samtools", "bcftools")
def test_the_tutorial_has_seven_jobs_and_seven_runs(tmp_path: Path) -> None:
    project = Project(tmp_path / "tutorial", tracked=True)
    project.write("Snakefile", SNAKEFILE)
    write_data(project)
    assert project.call("bwa", "index", "data/genome.fa").returncode == 0
    done = project.snakemake("--logger", "mlflow")
    assert done.returncode == 0, done.stderr
    assert "MLflow: 7 jobs logged" in done.stderr
    runs = {run.info.run_name: run for run in job_runs(project, experiment="tutorial")}
    assert sorted(runs) == [
        "bcftools_call",
        *(
            f"{rule}/sample={s}"
            for rule in ("bwa_map", "samtools_index", "samtools_sort")
            for s in "AB"
        ),
    ]
    call = runs["bcftools_call"]
    assert call.inputs is not None
    sources = {
        given.dataset.name: json.loads(given.dataset.source)["run"]
        for given in call.inputs.dataset_inputs
    }
    assert sources["sorted_reads/A.bam"] == runs["samtools_sort/sample=A"].info.run_id
    assert sources["data/genome.fa"] is None
    lineage = project.ours("lineage", "calls/all.vcf")
    assert lineage.returncode == 0, lineage.stderr
    assert "data/samples/B.fastq" in lineage.stdout
    assert "raw data" in lineage.stdout
