# A rule for each step of the experiment, and one for each table. The decisions are in
# ml_experiment/plan.py; `experiment` is ml_experiment/adapters/snakemake.py.
from ml_experiment.adapters import snakemake as _ml_experiment

experiment = _ml_experiment.experiment(config)


workdir: experiment.folder


onstart:
    experiment.started(elsewhere=not workflow.local_exec)


for _step in experiment.rules:

    rule:
        name: _step.name
        input: _step.input,
        output: _step.output,
        log: **_step.log,
        wildcard_constraints: **_step.wildcard_constraints,
        localrule: _step.local
        threads: _step.threads
        resources: **_step.resources,
        retries: _step.retries
        container: _step.container
        conda: _step.conda
        envmodules: *_step.envmodules,
        params: command=_step.command,
        shell: "{params.command}"


for _table in experiment.tables:

    rule:
        name: _table.name
        input: _table.input,
        output: _table.output,
        localrule: True
        params: command=_table.command,
        shell: "{params.command}"


# The trials of each study; what they are is decided when they are about to run. A history is a
# marker: so many trials have ended.
for _trial in experiment.trials:

    rule:
        name: _trial.name
        input: _trial.input,
        output: _trial.output,
        log: **_trial.log,
        wildcard_constraints: **_trial.wildcard_constraints,
        priority: _trial.priority
        threads: _trial.threads
        resources: **_trial.resources,
        retries: _trial.retries
        container: _trial.container
        conda: _trial.conda
        envmodules: *_trial.envmodules,
        params: command=_trial.command,
        shell: "attempt={resources.attempt}; {params.command}"


for _history in experiment.histories:

    rule:
        name: _history.name
        input: _history.input,
        output: _history.output,
        wildcard_constraints: **_history.wildcard_constraints,
        localrule: True
        shell: ": > {output:q}"


for _view in experiment.views:

    rule:
        name: _view.name
        input: _view.input,
        output: _view.output,
        log: **_view.log,
        wildcard_constraints: **_view.wildcard_constraints,
        localrule: True
        params: command=_view.command,
        shell: "{params.command}"
