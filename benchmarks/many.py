"""An experiment of 5,000 jobs, and the same as a bare Snakefile: what two benchmarks measure on."""

from __future__ import annotations

JOBS = 5000
SETS, METHODS, REPLICATES = 20, 24, 9  # 20 × (9 + 24 × 9 + 24 + 1) = 5,000


def experiment(sets: int = SETS, methods: int = METHODS, replicates: int = REPLICATES) -> str:
    """Four steps: splits, fits, scores, a summary for each data set; two have tables."""
    return f"""\
name: bench
seed: 1
params: {{fraction: 0.25}}
axes:
  data: {[f"set{index:02}" for index in range(sets)]}
  method: {[f"method{index:02}" for index in range(methods)]}
steps:
  split:
    run: make-split {{matrix.data}} {{outputs.train}} {{outputs.test}} {{params.fraction}} {{seed}}
    matrix: [data]
    replicates: {replicates}
    outputs: {{train: train.csv, test: test.csv}}
  fit:
    run: fit {{inputs.train}} {{matrix.method}} {{params.C}} {{params.gamma}} {{outputs.model}} {{metrics}}
    matrix: [data, method]
    replicates: {replicates}
    inputs: {{train: split.train}}
    params: {{C: 1.0, gamma: scale}}
    outputs: {{model: model.bin}}
    metrics: metrics.json
  score:
    run: score {{metrics}} --tests {{inputs.tests}} --models {{inputs.models}}
    matrix: [data, method]
    inputs: {{tests: split.test, models: fit.model}}
    metrics: scores.json
  summary:
    run: summarize {{outputs.text}} {{inputs.scores}}
    matrix: [data]
    inputs: {{scores: score.metrics}}
    outputs: {{text: summary.txt}}
"""


SAME_GRAPH = """\


rule all:
    input:
        expand("results/summary/data={data}/summary.txt", data=SETS),
        expand("results/fit/data={data},method={method}/seed-{seed}/metrics.json", data=SETS, method=METHODS, seed=SEEDS),


rule split:
    output:
        train="results/split/data={data}/seed-{seed}/train.csv",
        test="results/split/data={data}/seed-{seed}/test.csv",
    shell: "make-split {wildcards.data} {output} 0.25"


rule fit:
    input: "results/split/data={data}/seed-{seed}/train.csv"
    output:
        model="results/fit/data={data},method={method}/seed-{seed}/model.bin",
        metrics="results/fit/data={data},method={method}/seed-{seed}/metrics.json",
    wildcard_constraints: data="[^/,=]+"
    shell: "fit {input} {wildcards.method} 1.0 scale {output}"


rule score:
    input:
        tests=expand("results/split/data={data}/seed-{seed}/test.csv", seed=SEEDS, allow_missing=True),
        models=expand("results/fit/data={data},method={method}/seed-{seed}/model.bin", seed=SEEDS, allow_missing=True),
    output: "results/score/data={data},method={method}/scores.json"
    wildcard_constraints: data="[^/,=]+"
    shell: "score {output} --tests {input.tests} --models {input.models}"


rule summary:
    input: expand("results/score/data={data},method={method}/scores.json", method=METHODS, allow_missing=True)
    output: "results/summary/data={data}/summary.txt"
    shell: "summarize {output} {input}"
"""


def same_graph(sets: int = SETS, methods: int = METHODS, replicates: int = REPLICATES) -> str:
    """The same jobs, files and edges in plain rules; no keys, no logs, no tables."""
    lists = f"""\
SETS = [f"set{{i:02}}" for i in range({sets})]
METHODS = [f"method{{i:02}}" for i in range({methods})]
SEEDS = range({replicates})
"""
    return lists + SAME_GRAPH


def independent(jobs: int = JOBS) -> str:
    """As many jobs without any edge."""
    return f"""\
rule all:
    input: expand("results/{{i}}.txt", i=range({jobs}))


rule one:
    output: "results/{{i}}.txt"
    shell: "touch {{output}}"
"""
