"""An unmodified program draws the same numbers under the same seed."""

from __future__ import annotations

import json
import textwrap

import pytest

from tests.boot.jobs import BOOT, Job, derive

DRAWS = """
    import random
    import numpy as np
    from numpy.random import default_rng
    print(random.random(), np.random.rand(), default_rng().random(), np.random.default_rng().random())
"""


@pytest.mark.engine("numpy")
def test_same_draws_twice_and_others_for_another_replicate(job: Job) -> None:
    first, second = job.script(DRAWS), job.script(DRAWS)
    other = job.script(DRAWS, replicate=1)
    assert first.code == 0, first.err
    assert first.out == second.out
    draws = first.out.split()
    assert len(set(draws)) == 4
    assert not set(draws) & set(other.out.split())
    assert first.main["generators"] == second.main["generators"]
    assert [row["used"] for row in first.main["generators"]] == [True, True, True]
    for row in first.main["generators"]:
        assert row["seed"] == derive(20261123, "fit", 0, row["name"])
    assert first.generator("numpy.default_rng")["created"] == 2


@pytest.mark.engine("numpy")
def test_draws_are_those_of_the_documented_seeds(job: Job) -> None:
    done = job.script(
        f"""
        import random
        import numpy as np
        ours = random.random(), np.random.rand(), np.random.default_rng().random()
        random.seed({derive(20261123, "fit", 0, "random")})
        np.random.seed({derive(20261123, "fit", 0, "numpy")})
        children = np.random.SeedSequence({derive(20261123, "fit", 0, "numpy.default_rng")}).spawn(2)
        again = random.random(), np.random.rand(), np.random.default_rng(children[0]).random()
        assert ours == again, (ours, again)
        assert np.random.default_rng().random() == np.random.default_rng(children[1]).random()
        """
    )
    assert done.code == 0, done.err


@pytest.mark.engine("numpy")
def test_default_rng_is_otherwise_numpys(job: Job) -> None:
    done = job.script(
        """
        import pickle
        import numpy.random as r
        assert r.default_rng(3).random() == r.Generator(r.PCG64(3)).random()
        assert r.default_rng([1, 2]).random() == r.Generator(r.PCG64([1, 2])).random()
        generator, bits = r.default_rng(seed=1), r.PCG64(1)
        assert r.default_rng(generator) is generator
        assert r.default_rng(bits).bit_generator is bits
        assert pickle.loads(pickle.dumps(r.default_rng)) is r.default_rng
        from numpy.random._generator import default_rng
        assert default_rng is r.default_rng
        assert pickle.loads(pickle.dumps(r.default_rng())).random() is not None
        assert len(r.default_rng().spawn(2)) == 2 if hasattr(generator, "spawn") else True
        assert "Generator" in r.default_rng.__doc__
        """
    )
    assert done.code == 0, done.err


@pytest.mark.engine("numpy")
def test_what_was_not_used_is_said_so(job: Job) -> None:
    done = job.script("import numpy as np\nimport random\nnp.random.default_rng(1).random()\n")
    used = {row["name"]: row["used"] for row in done.main["generators"]}
    assert used["numpy"] is False
    assert used["random"] is False


@pytest.mark.engine("numpy")
@pytest.mark.parametrize("seeding", ["variables", "none"])
def test_nothing_is_seeded_without_full(job: Job, seeding: str) -> None:
    first, second = job.script(DRAWS, seeding=seeding), job.script(DRAWS, seeding=seeding)
    assert not set(first.out.split()) & set(second.out.split())
    assert {row["seed"] for row in first.main["generators"]} == {None}
    assert first.generator("random")["used"] is True
    expected = derive(20261123, "fit", 0, "seed") if seeding == "variables" else None
    assert first.main["seed"] == expected


@pytest.mark.parametrize(
    "start",
    [
        "import numpy.random",
        "import numpy.random.mtrand, numpy",
        "from numpy import random",
        (
            "import threading\nt = [threading.Thread(target=__import__, args=('numpy.random',)) "
            "for _ in range(4)]\n[x.start() for x in t], [x.join() for x in t]"
        ),
        (
            "import importlib.util as u, sys\ns = u.find_spec('numpy')\nl = u.LazyLoader(s.loader)\n"
            "s.loader = l\nsys.modules['numpy'] = m = u.module_from_spec(s)\nl.exec_module(m)"
        ),
    ],
)
def test_every_way_to_import(job: Job, start: str) -> None:
    end = "\nimport numpy\nprint(numpy.random.rand(), numpy.random.default_rng().random())\n"
    job.write("script.py", start + end)
    plain = job.script("import numpy" + end)
    job.write("script.py", start + end)
    done = job.run("script.py")
    assert done.code == 0, done.err
    assert done.out == plain.out


def test_a_lazy_module_is_seeded_when_it_is_executed(job: Job) -> None:
    text = """
        import importlib.util as u, sys
        spec = u.find_spec("random")
        sys.modules.pop("random", None)
        spec.loader = loader = u.LazyLoader(spec.loader)
        sys.modules["random"] = module = u.module_from_spec(spec)
        loader.exec_module(module)
        print(module.random())
    """
    first = job.script(text)
    assert first.code == 0, first.err
    assert first.out == job.script("import random\nprint(random.random())\n").out


@pytest.mark.engine("numpy")
def test_reload(job: Job) -> None:
    done = job.script(
        """
        import importlib, random
        import numpy as np
        np.random.seed(5)
        first = np.random.default_rng().random()
        importlib.reload(np.random)
        assert np.random.rand() == np.random.RandomState(5).rand()  # kept as the program had it
        assert np.random.default_rng().random() != first
        print(random.random())
        importlib.reload(random)
        print(random.random())
        """
    )
    assert done.code == 0, done.err
    first, second = done.out.split()
    assert first == second
    assert done.generator("numpy.default_rng")["created"] == 2


def test_loaders_are_as_python_has_them(job: Job) -> None:
    done = job.script(
        """
        import importlib.machinery, importlib.util, inspect, sys
        assert importlib.util.find_spec("random").loader.get_filename().endswith("random.py")
        import random
        assert type(random.__loader__) is importlib.machinery.SourceFileLoader
        assert type(random.__spec__.loader) is importlib.machinery.SourceFileLoader
        assert "Mersenne" in inspect.getsource(random)
        """
    )
    assert done.code == 0, done.err


def test_a_program_keeps_its_own_seeds(job: Job) -> None:
    text = "import random\nrandom.seed(1)\nassert random.random() == random.Random(1).random()\n"
    assert job.script(text).code == 0


@pytest.mark.engine("numpy")
def test_already_imported_libraries(job: Job) -> None:
    """What a server of warm processes does: import first, start in the forked child."""
    text = """
        import json, os, random, sys
        import numpy as np
        from numpy.random import rand
        random.random(), np.random.rand()
        sys.path.insert(0, BOOT)
        import _ml_experiment_boot
        for replicate in (0, 0, 1):
            pid = os.fork()
            if pid == 0:
                config = json.dumps(dict(CONFIG, replicate=replicate))
                _ml_experiment_boot.start(config, os.environ)
                print(random.random(), rand(), np.random.default_rng().random(), flush=True)
                _ml_experiment_boot.finish()
                os._exit(0)
            os.waitpid(pid, 0)
    """
    environ = job.environ()
    config = json.loads(environ.pop("ML_EXPERIMENT_BOOT"))
    head = f"BOOT = {str(BOOT)!r}\nCONFIG = {config!r}\n"
    job.write("script.py", head + textwrap.dedent(text))
    done = job.run("script.py", environ=environ)
    assert done.code == 0, done.err
    first, second, third = done.out.splitlines()
    assert first == second != third
    draws = job.script(
        """
        import random
        import numpy as np
        print(random.random(), np.random.rand(), np.random.default_rng().random())
        """
    )
    assert draws.out.strip() == first
    assert [line["process"]["role"] for line in done.lines] == ["main"] * 3


@pytest.mark.engine("torch")
def test_pytorch(job: Job) -> None:
    done = job.script(
        f"""
        import torch, sys
        draws = torch.rand(3)
        assert not torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.deterministic
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.cuda.is_initialized()
        assert "torch._inductor" not in sys.modules  # it would take a second to import
        torch.manual_seed({derive(20261123, "fit", 0, "torch")})
        assert torch.equal(draws, torch.rand(3))
        """
    )
    assert done.code == 0, done.err
    row = done.generator("torch")
    assert row["seed"] == derive(20261123, "fit", 0, "torch")
    assert row["used"] is True
    assert "torch" in done.main["distributions"]
    assert done.main["gpus"] == []


def test_tensorflow_by_a_stand_in(job: Job) -> None:
    job.write("tensorflow/__init__.py", "from . import random\n")
    job.write("tensorflow/random.py", "def set_seed(seed):\n    print(seed)\n")
    done = job.script("import tensorflow\n")
    assert done.out.strip() == str(derive(20261123, "fit", 0, "tensorflow"))
    assert done.generator("tensorflow")["used"] is None


def test_a_library_that_cannot_be_seeded_is_one_sentence(job: Job) -> None:
    job.write("tensorflow/__init__.py", "")
    done = job.script("import tensorflow\nprint('on')\n")
    assert (done.code, done.out) == (0, "on\n")
    assert done.err.startswith("ml-experiment: tensorflow could not be seeded")
    assert len(done.err.splitlines()) == len(done.main["problems"]) == 1


def test_a_booted_server_hands_its_child_over(job: Job) -> None:
    job.write(
        "script.py",
        """
        import json, multiprocessing as mp, os, random, sys
        import _ml_experiment_boot

        def work():
            print(random.random(), flush=True)

        if os.fork() == 0:
            config = dict(json.loads(os.environ["ML_EXPERIMENT_BOOT"]), replicate=7)
            del config["main"]
            _ml_experiment_boot.start(json.dumps(config), os.environ)
            process = mp.get_context("fork").Process(target=work)
            process.start()
            process.join()
            work()
            _ml_experiment_boot.finish()
            os._exit(0)
        os.wait()
        """,
    )
    first, second = job.run("script.py"), job.run("script.py")
    assert (first.code, first.err) == (0, "")
    assert first.out == second.out
    assert len(set(first.out.split())) == 2
    found = [(line["replicate"], line["process"]["role"]) for line in first.lines]
    assert found == [(7, "child"), (7, "main"), (0, "main")]
    (row,) = first.lines[1]["generators"]
    assert row["seed"] == derive(20261123, "fit", 7, "random")
