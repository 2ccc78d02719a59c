"""The random number generators that we seed: how each is seeded, and how its state is read.

One rule decides every case: **only what would come from the operating system's entropy gets a
seed of ours.** So a program that seeds something itself keeps its own seed, a forked process
keeps the state that it inherits, and two processes that would have differed still do.
"""

from __future__ import annotations

import _thread
import hashlib
import os
import sys

from .seeds import derive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .hooks import Watch
    from .settings import Settings

CHILDREN = "numpy.default_rng"


def _seed_random(module: Any, seed: int) -> None:
    module.seed(seed)


def _state_of_random(module: Any) -> bytes:
    return repr(module.getstate()).encode()


def _seed_numpy(module: Any, seed: int) -> None:
    module.seed(seed)


def _state_of_numpy(module: Any) -> bytes | None:
    # A thread that held the lock when this process was forked off will never release it.
    lock = getattr(getattr(module.mtrand._rand, "_bit_generator", None), "lock", None)
    if lock is not None:
        if not lock.acquire(timeout=1):
            return None
        lock.release()
    state = module.get_state()
    if isinstance(state, tuple):
        return bytes(state[1].tobytes()) + repr(state[2:]).encode()
    return repr(state).encode()  # another bit generator was put in


def _seed_torch(module: Any, seed: int) -> None:
    module.manual_seed(seed)  # CUDA is seeded when the program initialises it
    module.backends.cudnn.benchmark = False
    module.backends.cudnn.deterministic = True
    # What use_deterministic_algorithms(True, warn_only=True) does, but that function also imports
    # the compiler, which takes more than a second; the variable tells the compiler.
    if hasattr(module, "set_deterministic_debug_mode"):
        module.set_deterministic_debug_mode("warn")
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    inductor = sys.modules.get("torch._inductor.config")
    if inductor is not None:
        inductor.deterministic = True  # type: ignore[attr-defined]


def _state_of_torch(module: Any) -> bytes:
    return bytes(module.get_rng_state().tolist())


def _seed_tensorflow(module: Any, seed: int) -> None:
    module.random.set_seed(seed)


def _state_of_tensorflow(_module: Any) -> bytes | None:
    # Only the global seed can be read; the counters behind it are no one's but TensorFlow's.
    context = sys.modules.get("tensorflow.python.eager.context")
    return repr(context.global_seed()).encode() if context is not None else None


class Generator:
    """One generator of a library, from the moment its module was imported.

    Attributes:
        name: as in the seed's derivation and the report.
        module: the name of the module that holds it.
        path: where in that module the generator itself is, to tell a reload from a new one.
        seed: what we gave it, or None.
        seeded_as: the name that its seed was derived from, or None.
        started: the digest of its state then.
        pid: the process in which that was.
    """

    def __init__(
        self,
        name: str,
        module: str,
        path: str,
        sow: Callable[[Any, int], None],
        read: Callable[[Any], bytes | None],
    ) -> None:
        self.name = name
        self.module = module
        self.path = path
        self.sow = sow
        self.read = read
        self.holder: Any = None
        self.seed: int | None = None
        self.seeded_as: str | None = None
        self.started: str | None = None
        self.pid: int | None = None

    def digest(self) -> str | None:
        """The digest of its state now, or None where that cannot be read."""
        try:
            state = self.read(sys.modules[self.module])
        except Exception:  # noqa: BLE001  (a version that keeps its state elsewhere)
            return None
        return None if state is None else hashlib.sha256(state).hexdigest()

    def untouched(self) -> bool:
        """Whether it is still as we left it in this very process."""
        if self.pid != os.getpid() or self.started is None:
            return False
        return self.started == self.digest()

    def is_new(self, module: Any) -> bool:
        """Whether `module` holds another generator than the one last seen, and note it."""
        holder = module
        for name in self.path.split(".") if self.path else []:
            holder = getattr(holder, name, holder)
        known, self.holder = self.holder, holder
        return known is not holder


class Children:
    """Seeds for unseeded calls of `numpy.random.default_rng`: the next child for each."""

    def __init__(self) -> None:
        self.seed: int | None = None
        self.seeded_as: str | None = None
        self.created = 0
        self.lock = _thread.allocate_lock()

    def renew(self, seed: int, name: str) -> None:
        """Begin again with another seed, in another process."""
        self.seed, self.seeded_as, self.created = seed, name, 0
        self.lock = _thread.allocate_lock()  # another thread may have held it at the fork

    def next(self, module: Any) -> Any:
        """The next SeedSequence; equal to the next of `SeedSequence(seed).spawn`."""
        with self.lock:
            number, self.created = self.created, self.created + 1
        return module.SeedSequence(self.seed, spawn_key=(number,))

    def patch(self, module: Any) -> None:
        """Put our `default_rng` in place of NumPy's, wherever it is looked up."""
        original = module.default_rng
        if getattr(original, "_ml_experiment_children", None) is self:
            return
        children = self

        def default_rng(seed: Any = None) -> Any:
            return original(children.next(module) if seed is None else seed)

        default_rng.__doc__ = original.__doc__
        default_rng.__qualname__ = "default_rng"
        default_rng.__module__ = "numpy.random"  # pickles find it there
        default_rng.__wrapped__ = original  # type: ignore[attr-defined]
        default_rng._ml_experiment_children = self  # type: ignore[attr-defined]
        module.default_rng = default_rng
        inner = sys.modules.get("numpy.random._generator")
        if inner is not None:
            inner.default_rng = default_rng  # type: ignore[attr-defined]


_TABLE: list[tuple[str, str, str, Any, Any]] = [
    ("random", "random", "_inst", _seed_random, _state_of_random),
    ("numpy", "numpy.random", "mtrand._rand", _seed_numpy, _state_of_numpy),
    ("torch", "torch", "default_generator", _seed_torch, _state_of_torch),
    ("tensorflow", "tensorflow", "", _seed_tensorflow, _state_of_tensorflow),
]


class Generators:
    """All of them, in one process.

    Args:
        settings: whose seeds they get.
        complain: is given one clause for each thing that went wrong.
    """

    def __init__(self, settings: Settings, complain: Callable[[str], None]) -> None:
        self.settings = settings
        self.complain = complain
        self.place = ""  # where this process stands among its relatives: "2.1", "f1" ...
        self.seen: dict[str, Generator] = {}
        self.children = Children()

    def watch(self, watch: Watch) -> None:
        """Seed what is imported already, and the rest when it is imported."""
        for row in _TABLE:
            generator = Generator(*row)
            watch.when_imported(generator.module, self._action(generator))

    def _action(self, generator: Generator) -> Callable[[Any], None]:
        return lambda module: self._imported(generator, module)

    def _seed_of(self, name: str) -> tuple[int, str]:
        full = name + "@" + self.place if self.place else name
        settings = self.settings
        return derive(settings.root, settings.stream, settings.replicate, full), full

    def _imported(self, generator: Generator, module: Any) -> None:
        full = self.settings.seeding == "full"
        if full and generator.name == "numpy" and hasattr(module, "default_rng"):
            if self.children.seed is None:
                self.children.renew(*self._seed_of(CHILDREN))
            self.children.patch(module)
        if generator.is_new(module):  # a reload of NumPy or PyTorch keeps the one that is there
            self._sow(generator, module)
            if generator.name == "random":
                # Python's own hook, which seeds from entropy, was registered just before.
                os.register_at_fork(after_in_child=lambda: self._sow(generator, module))

    def _sow(self, generator: Generator, module: Any) -> None:
        self.seen[generator.name] = generator
        generator.pid = os.getpid()
        try:
            if self.settings.seeding == "full":
                seed, name = self._seed_of(generator.name)
                generator.sow(module, seed)
                generator.seed, generator.seeded_as = seed, name
            generator.started = generator.digest()
        except Exception as error:  # noqa: BLE001  (the program's import must succeed)
            self.complain("%s could not be seeded: %r" % (generator.name, error))

    def forked(self, place: str) -> None:
        """In the child of a fork: the states are inherited, but what is new must be its own.

        `random`, which Python seeds anew from entropy, has a hook of its own.
        """
        self.place = place
        if self.children.seed is not None:
            self.children.renew(*self._seed_of(CHILDREN))
        for generator in self.seen.values():
            generator.started = generator.digest()

    def moved(self, place: str) -> None:
        """In a child that has learned its place: what is still as we seeded it is seeded anew."""
        self.place = place
        if self.settings.seeding != "full":
            return
        if self.children.seed is not None and not self.children.created:
            self.children.renew(*self._seed_of(CHILDREN))
        for generator in self.seen.values():
            if generator.untouched():
                self._sow(generator, sys.modules[generator.module])

    def report(self) -> list[dict[str, Any]]:
        """What is known of each generator that the program could have used, sorted by name."""
        rows = [self._row(generator) for generator in self.seen.values()]
        children = self.children
        if children.seed is not None:
            rows.append(
                {
                    "created": children.created,
                    "name": CHILDREN,
                    "seed": children.seed,
                    "seeded_as": children.seeded_as,
                    "state": None,
                    "used": children.created > 0,
                }
            )
        return sorted(rows, key=lambda row: str(row["name"]))

    def _row(self, generator: Generator) -> dict[str, Any]:
        state = generator.digest()
        if generator.name == "tensorflow":
            state = None  # its global seed does not tell what was drawn
        known = state is not None and generator.started is not None
        return {
            "name": generator.name,
            "seed": generator.seed,
            "seeded_as": generator.seeded_as,
            "state": state,
            "used": state != generator.started if known else None,
        }
