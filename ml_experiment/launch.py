"""A job's command line: launch prefix + the user's command.

The prefix sources boot/env.sh, which sets what makes a program's result its own (threads as
*declared*, hash seed, time zone, locale, the boot folder on PYTHONPATH), and hands over the job's
values as variables. The line is what Snakemake prints, and a person can paste it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_experiment import containers, placeholders, seeds
from ml_experiment.errors import UserError
from ml_experiment.hashing import canonical, of_text
from ml_experiment.model import seconds
from ml_experiment.plan import Job, Plan

BOOT = Path(__file__).parent / "boot"
KILL = 10  # seconds that a program has to end in after its timeout
TAIL = 20  # lines of a failed job's log that are kept
MAX_COMMAND = 60_000  # bytes of command and of prefix: the kernel takes 128 KiB for both


def values(
    plan: Plan, job: Job, params: Mapping[str, Any], checkpoints: Mapping[str, str]
) -> dict[str, Any]:
    """What placeholders, variables and functions get."""
    number = {} if job.trial is None else {"trial": job.trial}
    return {
        **number,
        "checkpoints": dict(checkpoints),
        "inputs": plan.inputs(job),
        "matrix": dict(job.case.values),
        "metrics": plan.metrics(job),
        "outputs": plan.outputs(job),
        "params": dict(params),
        "replicate": job.replicate.index,
        "seed": plan.seed(job),
        "threads": job.case.work.threads,
    }


def line(
    plan: Plan,
    job: Job,
    params: Mapping[str, Any],
    checkpoints: Mapping[str, str],
    *,
    resumed: bool,
) -> str:
    """What the job's shell runs.

    The boot report begins empty, and the output goes to the log. Of a command that fails the
    report ends with the exit status, which Snakemake does not tell, and is kept, with the end of
    the log, where the next attempt does not overwrite them (`attempts.Failure`).
    """
    given = values(plan, job, params, checkpoints)
    limit = seconds(job.case.work.timeout)
    words = [] if limit is None else ["timeout", "-k", str(KILL), str(limit)]  # as BusyBox has it
    words += ["bash", "-euo", "pipefail", "-c", command(job, given)]
    word = "" if containers.in_docker(plan, job.case.work.environment) else "exec "
    launched = f"{prefix(plan, job, given, resumed=resumed)} {word}{shlex.join(words)}"
    boot, log = shlex.quote(plan.boot(job)), shlex.quote(plan.log(job))
    killed = "" if limit is None else _killed(limit)
    told = (
        f"{{ status=$?; {killed}echo '{{\"status\":'$status'}}' >> {boot}; cp {boot} {boot}.$$; "
        f"tail -n {TAIL} {log} > {boot}.$$.log; (exit $status); }}"
    )
    # Appended to, so that whoever else writes into it, such as a warm program, does so at its end.
    return f": > {boot}; : > {log}; ({launched}) >> {log} 2>&1 || {told}"


def _killed(limit: int) -> str:
    """Of a program that is killed as it outlives its timeout too long `timeout` dies as well."""
    late = f"[ $status -eq 137 ] && [ $SECONDS -ge {limit} ]"
    return f"if {late}; then status=124; fi; "


def trial(plan: Plan, job: Job, line: str, suggestion: str, made: str, checkpoint: str = "") -> str:
    """What the shell of a trial runs: the program's `line`, and boot/trial.sh around it.

    `suggestion` is the id of what the trial tries, `made` the digest of what an earlier part of
    it is made from, `checkpoint` the folder that an attempt to go on with has left.
    """
    begun = _begun(plan, job, suggestion, made, checkpoint)
    return f"{begun}; if {line}; then trial_ended 0; else trial_ended $?; fi"


def trial_by_hand(plan: Plan, job: Job, params: Mapping[str, Any], suggestion: str) -> str:
    """What goes before the program in the shell of a trial whose rule is written by hand."""
    given = values(plan, job, params, {})
    begun = _begun(plan, job, suggestion, "", "")
    # bash would end a trial that was killed with the status of the command before
    killed = "; ".join(f"trap 'trap - EXIT; exit {128 + n}' {n}" for n in (1, 2, 15))
    return f"{begun}; {killed}; trap 'trial_ended $?; exit 0' EXIT; {prefix(plan, job, given)}"


def _begun(plan: Plan, job: Job, suggestion: str, made: str, checkpoint: str) -> str:
    folder = plan.path(job, "").rstrip("/")
    status = {"seed": plan.seed(job), "suggestion": suggestion, "trial": job.trial}
    told = canonical({**status, "made": made} if made else status)[1:-1]
    words = [folder, told, job.step.step.metrics or "", plan.log(job), str(job.step.step.retries)]
    around = shlex.join([".", str(BOOT / "trial.sh"), *words, *job.step.step.outputs.values()])
    held = f"test -d {shlex.quote(checkpoint)} || " if checkpoint else ""
    return f"{around}; {held}trial_begins"


def taken_over(plan: Plan, job: Job, other: Job) -> str:
    """The line that takes over what another trial has made of the same."""
    folder = plan.path(other, "").rstrip("/")
    said = f"made of the same as {folder}, and taken from there"
    return f"trial_takes {shlex.quote(folder)} && echo {shlex.quote(said)} > {shlex.quote(plan.log(job))}"


def ended_before(plan: Plan, job: Job, suggestion: str, before: Mapping[str, Any]) -> str:
    """What the shell of a trial's step runs where an earlier step of the trial has not completed.

    `suggestion` is the id of what the trial tries, `before` what that step has written down.
    """
    known = {name: before[name] for name in ("part", "state", "status") if name in before}
    return _nothing(plan, job, {**known, "suggestion": suggestion, "trial": job.trial})


def no_trial(plan: Plan, job: Job, message: str | None) -> str:
    """What the shell of a trial runs that tries nothing.

    `message` says what is wrong with its study; None where that has found enough.
    """
    if message is not None:
        return f"echo {shlex.quote(message)} > {shlex.quote(plan.log(job))}; exit 1"
    return _nothing(plan, job, {"state": "stopped", "trial": job.trial})


def _nothing(plan: Plan, job: Job, status: Mapping[str, Any]) -> str:
    """Write a status, and the empty metrics that Snakemake expects."""
    told, metrics = shlex.quote(canonical(dict(status))), plan.metrics(job)
    line = f"echo {told} > {shlex.quote(plan.path(job, 'status.json'))}"
    if metrics is None:
        return line
    empty = "mkdir -p" if metrics.endswith("/") else ": >"
    return f"{empty} {shlex.quote(metrics)}; {line}"


def command(job: Job, given: Mapping[str, Any]) -> str:
    """The user's command, with every value in it quoted.

    Raises:
        UserError: it is longer than a command line may be.
    """
    if job.case.template is not None:
        text = placeholders.render(job.case.template, given)
    else:
        words = ["python", str(BOOT / "call.py"), job.case.work.call or "", canonical(dict(given))]
        text = shlex.join(words)
    return _checked(text, shlex.quote(text), f"the command of {job.id}")


def _checked(text: str, as_argument: str, what: str) -> str:
    size = len(as_argument.encode())
    if size > MAX_COMMAND:
        raise UserError(
            f"{what} has {size:,} bytes",
            expected=f"at most {MAX_COMMAND:,}",
            hint="take STEP.table, which is one file, in the place of a long list of inputs",
        )
    return text


def prefix(plan: Plan, job: Job, given: Mapping[str, Any], *, resumed: bool = False) -> str:
    """The words before the command. A function gets its values as arguments instead.

    Raises:
        UserError: they are more than a command line may hold.
    """
    boot = _boot(plan, job)
    if resumed:
        boot["resumed"] = True
    called = job.case.work.call is not None
    shown: dict[str, Any] = {"seed": given["seed"]} if called else dict(given)
    if job.step.trials_of is not None:
        shown["report"] = plan.path(job, "reports.txt")
        if job.step.trials_of.searches[job.case.label].pruner is not None:
            shown["pruning"] = plan.suggestion(job)
    chosen = job.case.work.environment
    contained, deployed = containers.of_job(plan, job), _deployed(plan, chosen)
    text = _prefix(boot, plan.experiment.seed, shown, _python(plan, chosen), contained, deployed)
    return _checked(text, text, f"what the command of {job.id} is given as variables")


def warm_up(plan: Plan, job: Job) -> str | None:
    """The line that starts the warm server of a job's programs before there is one that asks for it.

    Returns:
        For a shell with ML_EXPERIMENT_WARM; None where the job has no such server.
    """
    boot = _boot(plan, job)
    if "warm" not in boot:
        return None
    chosen = job.case.work.environment
    contained = containers.of_job(plan, job)
    prefix = _prefix(boot, plan.experiment.seed, {}, _python(plan, chosen), contained)
    return f"{prefix} {'' if contained else 'exec '}bash -c 'warm_up python'"


def _boot(plan: Plan, job: Job) -> dict[str, Any]:
    """What the boot of a job's programs is told."""
    listed = job.replicate.seed
    boot: dict[str, Any] = {
        "replicate": job.replicate.index if listed is None else 0,
        "report": plan.boot(job),
        "root": plan.experiment.seed if listed is None else listed,
        "seeding": job.step.step.seeding,
        "stream": plan.stream(job.step),
        "threads": job.case.work.threads,
    }
    chosen = job.case.work.environment
    deployed = containers.by_snakemake(plan, chosen)
    if job.step.step.seeding == "full" and plan.is_many(job.step) and not deployed:
        # Another Python in each: what it imports may be elsewhere.
        own = containers.image(plan, chosen) or plan.pythons.get(chosen or "")
        made_of = [dict(job.case.code.files), own] if own else dict(job.case.code.files)
        boot["warm"] = of_text(canonical(made_of))[:12]
    return boot


def by_hand(
    plan: Plan,
    stream: str,
    replicate: int,
    job: str,
    threads: int,
    seeding: str,
    environment: str | None,
) -> str:
    """The prefix of a rule that was written by hand; `job` names it in paths."""
    root = plan.experiment.seed
    boot = {
        "replicate": replicate,
        "report": plan.state("boot", f"{job}.jsonl"),
        "root": root,
        "seeding": seeding,
        "stream": stream,
        "threads": threads,
    }
    seed = None if seeding == "none" else seeds.derive(root, stream, replicate)
    given = {"replicate": replicate, "seed": seed, "threads": threads}
    contained = containers.by_hand(plan, environment)
    deployed = _deployed(plan, environment)
    return _prefix(boot, root, given, _python(plan, environment), contained, deployed)


def _python(plan: Plan, environment: str | None) -> str:
    """The folder of the `python` of jobs on this machine, of Snakemake's own where none is named."""
    return plan.pythons.get(environment or "") or os.path.dirname(sys.executable)


def variables(given: Mapping[str, Any]) -> dict[str, str]:
    """The values as variables, sorted. Two names that become one variable are both left out."""
    found: dict[str, list[str]] = {}
    for group, value in given.items():
        held = value.items() if isinstance(value, dict) else [(None, value)]
        for name, item in held:
            if item is not None:
                variable = placeholders.variable(group, name)
                found.setdefault(variable, []).append(placeholders.as_text(item))
    return {name: texts[0] for name, texts in sorted(found.items()) if len(texts) == 1}


def _deployed(plan: Plan, environment: str | None) -> list[str]:
    """How Snakemake makes an environment ready, and the list of the modules that it would load."""
    method = containers.by_snakemake(plan, environment)
    if method is None or environment is None:
        return []
    return [method, str(plan.folder / "envs" / environment / "modules.txt")]


def _prefix(
    boot: Mapping[str, Any],
    root: int,
    given: Mapping[str, Any],
    python: str,
    contained: Sequence[str] = (),
    deployed: Sequence[str] = (),
) -> str:
    """The words before a command.

    Args:
        boot: what the boot of its programs is told.
        root: the experiment's seed.
        given: what it gets as variables.
        python: the folder of its Python, where neither of the next two is given.
        contained: image and options of the container that these words start.
        deployed: how Snakemake makes the command's environment ready, if it does, and of what.
    """
    threads, hashes = str(boot["threads"]), str(seeds.hash_seed(root))
    environ = {"ML_EXPERIMENT_BOOT": canonical(dict(boot)), **variables(given)}
    assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in environ.items())
    if contained:
        image, *options = contained
        words = shlex.join(["in_container", image, threads, hashes, *options, "--"])
        return f"{shlex.join(['.', str(BOOT / 'docker.sh')])} && {assignments} {words}"
    if deployed:  # and its `python` is that environment's
        method, modules = deployed
        source = shlex.join([".", str(BOOT / "deployed.sh"), method, threads, hashes, modules])
        return f"{source} && {assignments}"
    return f"{shlex.join(['.', str(BOOT / 'env.sh'), threads, hashes, python])} && {assignments}"
