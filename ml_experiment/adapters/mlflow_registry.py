"""Model versions in MLflow's registry, through its public client."""

from __future__ import annotations

from collections.abc import Collection

from mlflow.exceptions import MlflowException

from ml_experiment import versions
from ml_experiment.adapters.mlflow import Tracker, trouble
from ml_experiment.tracked import PREFIX
from ml_experiment.versions import Version


class Registry:
    """The registry of a tracking server or database."""

    def __init__(self, tracker: Tracker) -> None:
        self.client = tracker.client

    def versions(self, name: str) -> list[Version]:
        """The versions of a model that are ours, the oldest first; none where it is not there.

        Raises:
            TrackingError: the server does not answer.
        """
        with trouble():
            try:
                aliases = self.client.get_registered_model(name).aliases
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return []
            page = self.client.search_model_versions(f"name = '{name}'")
            pages = [*page]
            while page.token:
                token = page.token
                page = self.client.search_model_versions(f"name = '{name}'", page_token=token)
                pages += page
        found = []
        for each in pages:
            number = int(each.version)
            own = [alias for alias, meant in aliases.items() if int(meant) == number]
            version = versions.of_tags(name, number, own, each.tags)
            if version is not None:
                found.append(version)
        return sorted(found, key=lambda version: version.number or 0)

    def register(self, version: Version, run: str | None, known: Collection[Version]) -> int:
        """Add a version, unless its bytes are one already.

        Args:
            version: what is known of it.
            run: the run in MLflow that made it, if that is there.
            known: what the registry has of this model.

        Returns:
            Its number.

        Raises:
            TrackingError: the server does not answer.
            RefusedError: it refuses this version.
        """
        for each in known:
            if each.hash == version.hash and each.number is not None:
                return each.number
        with trouble():
            if not known:
                self._model(version)
            source, model_id = self._source(version, run)
            made = self.client.create_model_version(
                version.name, source, run, versions.tags(version),
                description=version.facts.get("description"), await_creation_for=0,
                model_id=model_id,
            )  # fmt: skip
            return int(made.version)

    def _model(self, version: Version) -> None:
        try:
            self.client.create_registered_model(
                version.name, description=version.facts.get("description")
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _source(self, version: Version, run: str | None) -> tuple[str, str | None]:
        """Where its bytes are: the run's logged model, or by their hash in DVC."""
        if run is not None:
            place = self.client.get_run(run).info.experiment_id
            wanted = f"source_run_id = '{run}'"
            for model in self.client.search_logged_models([place], wanted):
                if model.tags.get(f"{PREFIX}hash") == version.hash:
                    return model.artifact_location, model.model_id
        return f"dvc:{version.hash}", None

    def alias(self, name: str, alias: str, number: int) -> None:
        """Have an alias mean a version.

        Raises:
            TrackingError, RefusedError: the server does not answer, or refuses it.
        """
        with trouble():
            self.client.set_registered_model_alias(name, alias, str(number))
