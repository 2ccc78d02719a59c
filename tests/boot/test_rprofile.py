"""R is seeded by its profile."""

from __future__ import annotations

import subprocess

import pytest

from tests.boot.jobs import BOOT, Job

pytestmark = pytest.mark.engine("Rscript")


def r(job: Job, code: str, seed: str = "5", own: str = "", **settings: object) -> tuple[int, str]:
    environ = {
        **job.environ(**settings),  # type: ignore[arg-type]
        "R_PROFILE_USER": str(BOOT / "Rprofile"),
        "ML_EXPERIMENT_R_PROFILE_USER": own,
        "ML_EXPERIMENT_SEED": seed,
    }
    done = subprocess.run(
        ["Rscript", "-e", code],
        cwd=job.folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_draws_follow_the_seed(job: Job) -> None:
    code, text = r(job, "a <- runif(1); set.seed(5); cat(a == runif(1))")
    assert (code, text) == (0, "TRUE")
    assert r(job, "cat(runif(1))", seed="6") != r(job, "cat(runif(1))")
    free = "cat(exists('.Random.seed', globalenv()))"
    assert r(job, free, seeding="variables") == (0, "FALSE")
    assert r(job, free, seeding="none", stream='{"seeding":"full"') == (0, "FALSE")


def test_the_users_own_profile_is_read(job: Job) -> None:
    job.write("other.R", "mine <- 'other'\n")
    job.write(".Rprofile", "mine <- 'local'\n")
    assert r(job, "cat(mine)") == (0, "local")
    assert r(job, "cat(mine)", own="other.R") == (0, "other")


def test_a_broken_seed_runs_nothing(job: Job) -> None:
    code, text = r(job, "cat('ran')", seed="x")
    assert code == 1
    assert (
        text.strip()
        == "ml-experiment: ML_EXPERIMENT_SEED is 'x', not an integer, so nothing is run."
    )
