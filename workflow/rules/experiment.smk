# A rule for each step of the experiment, and one for each table. The decisions are in
# ml_experiment/plan.py; `experiment` is ml_experiment/adapters/snakemake.py.
from ml_experiment.adapters import snakemake as _ml_experiment

experiment = _ml_experiment.experiment(config)


workdir: experiment.folder


onstart:
    experiment.started()


for _step in experiment.rules:

    rule:
        name: _step.name
        input: _step.input,
        output: _step.output,
        log: **_step.log,
        wildcard_constraints: **_step.wildcard_constraints,
        threads: _step.threads
        resources: **_step.resources,
        retries: _step.retries
        params: command=_step.command,
        shell: "{params.command}"


for _table in experiment.tables:

    rule:
        name: _table.name
        input: _table.input,
        output: _table.output,
        params: command=_table.command,
        shell: "{params.command}"
